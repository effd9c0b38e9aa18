"""Collections behind a network: one store for all, and a transport for each kind of place."""
