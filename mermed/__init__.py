"""MerMED: stream medical images from tar shards, pretrain one encoder on them, and judge it. Loads no torch."""

__version__ = "0.2.0"
