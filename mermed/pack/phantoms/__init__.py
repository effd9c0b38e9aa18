"""Phantoms: synthetic raw files of seven modalities, to try everything on without a patient."""
