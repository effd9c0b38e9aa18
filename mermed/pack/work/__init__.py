"""Making samples: buckets, decoder processes, engines and the ledgers they leave."""
