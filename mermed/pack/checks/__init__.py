"""Certainty about packed collections: verify, repair, duplicates, leakage, merge, adopt."""
