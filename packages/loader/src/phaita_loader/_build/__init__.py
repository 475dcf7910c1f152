"""Build a model on its device from files; nothing here uses the network."""
