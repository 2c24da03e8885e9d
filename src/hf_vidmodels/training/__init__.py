"""The training loop, its arguments and the recipe contract."""
