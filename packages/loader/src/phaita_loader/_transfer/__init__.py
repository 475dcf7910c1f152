"""Missing blobs become cached blobs."""
