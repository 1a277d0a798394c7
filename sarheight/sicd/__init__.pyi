from ._product import SicdProduct, open_product, recognises

__all__ = ["SicdProduct", "open_product", "recognises"]
