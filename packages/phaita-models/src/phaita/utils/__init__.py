"""Helpers that PHAITA's code imports by these paths."""
