"""Model classes, one module per method, over shared backbones, layers and ops."""
