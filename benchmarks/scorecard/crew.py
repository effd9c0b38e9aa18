"""The ranks of one loader as its launcher would start them: a process each, asked together."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from peers.contestant import Contestant, PeerFailed

MODULE = "scorecard.trials"
LIMIT_S = 120.0


class TimeIsUp(Exception):
    """A loader had its time for one field of the card and is not done: nothing is known of it."""


class Crew:
    """Processes of one loader, started when first asked for; a process that failed to answer is replaced."""

    def __init__(self, name: str) -> None:
        """Raises PeerMissing when the loader cannot take part."""
        self.name = name
        self._env = {"MASTER_PORT": str(_free_port())}
        self._ranks: list[Contestant] = []
        self._deadline = float("inf")
        self._start(1)
        self.title, self.supports = self._ranks[0].title, self._ranks[0].supports

    def _start(self, num_ranks: int) -> None:
        """Start the processes that are missing, at the same time: importing a library costs seconds."""
        missing = max(0, num_ranks - len(self._ranks))
        with ThreadPoolExecutor(max(1, missing)) as pool:
            self._ranks += pool.map(lambda _: Contestant(self.name, module=MODULE, env=self._env), range(missing))

    def give(self, seconds: float) -> None:
        """Have all that is asked from now on end within `seconds`."""
        self._deadline = time.monotonic() + seconds

    def ask(self, do: str, *, limit_s: float = LIMIT_S, **arguments: Any) -> dict[str, Any]:
        """One process alone; raises PeerFailed."""
        return self.ask_ranks(do, 1, limit_s=limit_s, **arguments)[0]

    def ask_ranks(
        self, do: str, num_ranks: int, *, limit_s: float = LIMIT_S, states: Sequence[Any] = (None,), **arguments: Any
    ) -> list[dict[str, Any]]:
        """The answers of ranks 0 to `num_ranks` - 1, asked at once; rank r goes on from the r-th of `states`, in turn.

        Raises PeerFailed with what the first of them raised; whoever did not answer in time is ended. Raises TimeIsUp
        when it is the time that `give` gave.
        """
        self._start(num_ranks)
        limit_s = max(0.0, min(limit_s, self._deadline - time.monotonic()))
        with ThreadPoolExecutor(num_ranks) as pool:
            answers = [
                pool.submit(
                    self._ranks[rank].ask,
                    do,
                    limit_s=limit_s,
                    rank=rank,
                    num_ranks=num_ranks,
                    state=states[rank % len(states)],
                    **arguments,
                )
                for rank in range(num_ranks)
            ]
        try:
            return [answer.result() for answer in answers]
        except PeerFailed as error:
            self.restart()
            if time.monotonic() >= self._deadline:
                raise TimeIsUp(str(error)) from None
            raise

    def session(self) -> int:
        """The process id of rank 0, which leads a session of its own: its workers die with `kill_session`."""
        self._start(1)
        return self._ranks[0].pid

    def restart(self) -> None:
        """End all processes; the next question starts new ones."""
        with ThreadPoolExecutor(max(1, len(self._ranks))) as pool:
            list(pool.map(Contestant.close, self._ranks))
        self._ranks = []

    close = restart

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def kill_session(leader: int) -> None:
    """End a rank and all that it started, at once and without a word, as a machine that goes down does."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _free_port() -> int:
    """A port of the loopback that nobody listens on, where ranks that need to may meet."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
