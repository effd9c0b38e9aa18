"""A peer as its parent sees it: a child process in an environment of its own that answers questions."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from peers import environments

BENCHMARKS = Path(__file__).resolve().parent.parent
START_S, ANSWER_S = 120.0, 300.0


class PeerMissing(Exception):
    """A peer cannot take part; the message is the reason that a table shows."""


class PeerFailed(Exception):
    """A peer took part and failed: what it raised, or that it died, or that it said nothing for too long."""


class Contestant:
    """Starts `python -m MODULE NAME` and asks it questions; a context manager that ends the child and its workers."""

    def __init__(self, name: str, *, module: str = "peers.child", env: dict[str, str] | None = None) -> None:
        """Raises PeerMissing when there is no environment for the peer, or its library does not load."""
        self.name = name
        try:
            python = environments.python_of(name)
        except environments.NoEnvironment as error:
            raise PeerMissing(str(error)) from None
        self._errors = tempfile.TemporaryFile("w+b")
        self._buffer = b""
        self._process = subprocess.Popen(
            [str(python), "-m", module, name],
            cwd=BENCHMARKS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **(env or {})},
            start_new_session=True,
        )
        try:
            greeting = self._answer(START_S)
        except PeerFailed as error:
            self.close()
            raise PeerMissing(str(error)) from None
        self.title: str = greeting["title"]
        self.supports: frozenset[str] = frozenset(greeting["supports"])
        self.pid: int = greeting["pid"]

    def ask(self, do: str, *, limit_s: float = ANSWER_S, **arguments: Any) -> dict[str, Any]:
        """The child's answer; raises PeerFailed with what it raised, or after `limit_s`, which also ends the child."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            stdin.flush()
        except (BrokenPipeError, ValueError):
            raise PeerFailed(f"died before it was asked to {do}: {self.last_words()}") from None
        return self._answer(limit_s)

    def _answer(self, limit_s: float) -> dict[str, Any]:
        line = self._line(time.monotonic() + limit_s)
        if line is None:
            self.close(wait_s=0.0)
            raise PeerFailed(f"no answer within {limit_s:.0f} s")
        if not line:
            raise PeerFailed(f"died: {self.last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerFailed(answer["error"])
        return answer

    def _line(self, deadline: float) -> bytes | None:
        """The next line of stdout; empty when the child closed it, None at the deadline."""
        stdout = self._process.stdout
        assert stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                chunk = os.read(stdout.fileno(), 1 << 16)
                if not chunk:
                    return b""
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def last_words(self) -> str:
        """The last line that the child wrote to stderr."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no message"

    def close(self, wait_s: float = 5.0) -> None:
        """End the child, which gets `wait_s` to leave by itself, and all it started; safe to call twice."""
        if self._errors.closed:
            return
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(wait_s)
        # the child leads a session of its own: what is left of it are workers that a library did not stop
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> "Contestant":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
