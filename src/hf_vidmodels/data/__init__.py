"""Decoding, corpora, embedded corpora and feature files."""
