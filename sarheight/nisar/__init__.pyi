from ._product import NisarProduct, open_product, recognises

__all__ = ["NisarProduct", "open_product", "recognises"]
