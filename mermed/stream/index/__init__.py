"""Where samples lie in their shards: parsed once, held by bytes, kept on disk."""
