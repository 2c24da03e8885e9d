"""Corpora as their authors publish them."""
