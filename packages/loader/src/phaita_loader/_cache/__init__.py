"""The Hugging Face cache of one repo: the files in it, those that are right, and those that a request lacks."""
