"""What is the Hub's own: its API, the body of a file, several endpoints."""
