"""From raw medical files to shards: read, make canonical, split, write, verify. Never imports torch."""
