"""Hand: what a decoder process does: it takes tasks, makes samples and sends them, under limits the kernel keeps."""

import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection

from mermed.errors import MermedError
from mermed.pack.listing import RejectedRow
from mermed.pack.options import PackOptions
from mermed.pack.work.message import encode_message
from mermed.pack.work.sample import Finished, Outcome, Task, make_samples

READY = b"ready"


def run_hand(connection: Connection, options: PackOptions, memory_mb: int) -> None:
    """Work until the parent closes the connection. A task that breaks this process breaks nothing else."""
    _confine(memory_mb)
    connection.send_bytes(READY)
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        for step in _make(task, options):
            for part in encode_message(step):
                connection.send_bytes(part)


def _make(task: Task, options: PackOptions) -> Iterator[Outcome | Finished]:
    """The steps of one task; a defect of ours ends as a rejected input that says where it is, and the pack goes on."""
    inputs = 0
    try:
        for step in make_samples(task, options):
            yield step
            inputs += step.count if isinstance(step, RejectedRow) else 1
    except Exception as error:
        reason = "limits" if isinstance(error, MemoryError) else "defect"
        row = RejectedRow(place=task.image.place, reason=reason, detail=_origin(error))
        yield from (row, Finished(inputs + 1))


def _origin(error: Exception) -> str:
    """Kind and place of an error without its text, which may quote the file."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = f": {error.what}" if isinstance(error, MermedError) else ""
    return f"{type(error).__name__} at {os.path.basename(frame.filename)}:{frame.lineno}{what}"


def _confine(memory_mb: int) -> None:
    """Leave this process what decoding needs: memory to a bound, no writing of files, no dumps, no terminal signals."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (memory_mb * 2**20, memory_mb * 2**20))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Decoders chat on stderr (libjpeg, ffmpeg), and may quote what they read.
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
