"""What a pack writes: places, shards, claims, accounts, and how a collection is published."""
