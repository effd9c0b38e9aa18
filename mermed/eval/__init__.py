"""Judge an encoder: frozen features, probes, intervals, one report."""
