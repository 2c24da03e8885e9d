"""A user's own folders and tables."""
