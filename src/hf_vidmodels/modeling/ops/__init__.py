"""Pure tensor functions: geometry, suppression, pooling."""
