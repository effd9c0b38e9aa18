"""Images to embeddings: encoder, head, student and teacher, memory queue, weights on disk."""
