"""Real images: pixels over hills in Morocco, and products that sarsen opens as well."""
