"""The child process of one peer: one JSON line per command on stdin, one JSON line per answer on stdout.

`python -m peers.child NAME` in the folder `benchmarks`. Commands are the methods of `Commands`, and quit.
What libraries print goes to stderr: stdout belongs to the answers.
"""

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from peers import measure
from peers.border import Opening, Peer
from peers.sameness import compared, digest_of


class Commands:
    """What a parent may ask of a peer; every answer is a JSON object."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def prepare(self, images: str, out: str) -> dict[str, Any]:
        """Convert the images to the peer's format."""
        begin = time.perf_counter()
        self._peer.prepare(Path(images), Path(out))
        return {"seconds": time.perf_counter() - begin}

    def rate(self, out: str, batches: int, memory: bool = False, **opening: Any) -> dict[str, Any]:
        """Throughput over `batches` batches after the first; see `measure.rate`."""
        return measure.rate(lambda: self._peer.open(Path(out), Opening(**opening)), batches, memory=memory)

    def check(self, out: str, images: str, batches: int, **opening: Any) -> dict[str, Any]:
        """How far the pixels of the first batches are from a plain decode of the files in `images`."""
        return compared(self._peer.open(Path(out), Opening(**opening)), Path(images), batches, opening["side_px"])

    def digest(self, out: str, batches: int, **opening: Any) -> dict[str, Any]:
        """A hash of the keys and pixels of the first batches, in order: equal hashes, equal data."""
        return {"sha256": digest_of(self._peer.open(Path(out), Opening(**opening)), batches)}

    def keys(self, out: str, batches: int, want_state: bool = False, **opening: Any) -> dict[str, Any]:
        """The keys and shapes of up to `batches` batches; `ended` says that the source had fewer."""
        begin = time.perf_counter()
        source = self._peer.open(Path(out), Opening(**opening))
        keys, shapes, first_s, states = [], [], None, []
        try:
            taken = iter(source)
            for _ in range(batches):
                entry = next(taken, None)
                if entry is None:
                    break
                first_s = time.perf_counter() - begin if first_s is None else first_s
                shapes.append(list(entry[0].shape))
                keys.append(list(entry[1]))
                if want_state:
                    states.append(source.state())
        finally:
            source.close()
        return {"keys": keys, "shapes": shapes, "states": states, "first_s": first_s, "ended": len(keys) < batches}


def _answers() -> Any:
    """The real stdout as a text stream; what others print to stdout goes to stderr from here on."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.set_inheritable(stream.fileno(), False)
    os.dup2(2, 1)
    return stream


def serve(name: str, commands: type[Any] = Commands, package: str = "peers") -> None:
    """Load the peer `name` of `package` and answer commands until `quit` or the end of stdin."""
    answers = _answers()

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        peer = importlib.import_module(f"{package}.{name}")
    except ImportError as error:
        say({"error": f"{type(error).__name__}: {error}"})
        return
    known = commands(peer)
    say({"title": peer.TITLE, "supports": sorted(peer.SUPPORTS), "pid": os.getpid()})
    for line in sys.stdin:
        asked = json.loads(line)
        verb = asked.pop("do")
        if verb == "quit":
            return
        try:
            say(getattr(known, verb)(**asked))
        except Exception as error:  # the parent decides what a failure of a peer means
            traceback.print_exc()
            say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    serve(sys.argv[1])
