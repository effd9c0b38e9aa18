"""The three commands: mermed-shard, mermed-train, mermed-eval."""
