"""Canvases to views: what is drawn for each view, and the engines that apply it."""
