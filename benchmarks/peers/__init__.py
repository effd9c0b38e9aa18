"""The loaders that ours is measured against, one file each; `border.py` says what such a file holds.

A peer runs as a child process with the python of an environment of its own (`environments.py`), started by
`contestant.py`, answering in `child.py`, measured by `measure.py`.
"""
