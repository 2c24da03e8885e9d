"""Snippet features: made from videos, kept in files, read for training."""
