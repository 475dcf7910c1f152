"""The Hub's own matters: its API, the body of a file, several endpoints, the token."""
