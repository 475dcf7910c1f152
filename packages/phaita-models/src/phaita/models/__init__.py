"""The models: one file each, with its configuration beside it."""
