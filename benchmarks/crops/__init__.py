"""Contestants that make the twelve views of an image, one a file; `border.py` says what such a file must hold."""
