"""Masks for a whole annotation file, from boxes."""
