"""The configuration, and the modules that PHAITA's code imports by these paths."""
