"""The Hugging Face cache of one repo: where files lie, which are right, and what a request lacks."""
