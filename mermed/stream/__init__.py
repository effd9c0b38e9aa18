"""shards -> EncodedBatch -> CanvasBatch: the order is arithmetic, the work is threads and bounded queues."""
