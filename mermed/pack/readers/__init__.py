"""One file per family of formats; each turns a path into a RawImage."""
