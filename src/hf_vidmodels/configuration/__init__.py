"""Configuration classes, one module per method."""
