"""Writing that may fail: logs of a run on a full disk are worth one warning, never the run."""

from collections.abc import Callable
from contextlib import suppress


class Lenient:
    """Does what may fail and tells, once per name, when it did; the next success is told too."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._failing: set[str] = set()

    def attempt(self, name: str, action: Callable[[], object]) -> bool:
        """Run `action`, such as the writing of `metrics.jsonl`; False when the operating system refused it."""
        try:
            action()
        except OSError as error:
            if name not in self._failing:
                self._failing.add(name)
                self._say(f"{name} cannot be written ({error.strerror or type(error).__name__}); the run goes on")
            return False
        if name in self._failing:
            self._failing.remove(name)
            self._say(f"{name} is written again")
        return True

    def _say(self, text: str) -> None:
        with suppress(OSError):  # the console may be what fails
            self._tell(text)
