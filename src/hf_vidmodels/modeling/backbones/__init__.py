"""Networks that several methods use as a sub-model."""
