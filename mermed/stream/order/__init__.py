"""The order of a run as arithmetic: which sample fills which slot, for any ranks, threads and batch."""
