"""What a remote store sent, kept on the disk of a node and fetched ahead of its use."""
