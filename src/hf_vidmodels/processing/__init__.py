"""Processors: from files and arrays to model inputs, and from model outputs to answers."""
