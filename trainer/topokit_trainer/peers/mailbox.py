"""Keys and values that a rank holds for others, who reach them by questions.

PyTorch's process groups find one another through a store. A TCPStore would do, but a client of one whose host is
stopped or cut off waits without end for some of its answers; here every wait has an end.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from threading import Lock
from typing import Any

from torch.distributed import Store  # type: ignore[attr-defined]

__all__ = ["Mailbox", "MailboxStore"]

FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.05  # seconds between looks at a key that is not there yet


class Mailbox:
    """The keys and values themselves, and the answers to questions about them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._values: dict[str, str] = {}

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Do what a question asks for, at once."""
        verb, key, value = question["verb"], question["key"], question.get("value", "")
        with self._lock:
            if verb == "set":
                self._values[key] = value
            elif verb == "compare":
                if self._values.get(key, "") == question["expected"]:
                    self._values[key] = value
                return {"value": self._values.get(key, question["expected"])}
            elif verb == "add":
                total = int(base64.b64decode(self._values.get(key, "")) or b"0") + int(value)
                self._values[key] = base64.b64encode(str(total).encode()).decode()
                return {"total": total}
            elif verb == "delete":
                return {"found": self._values.pop(key, None) is not None}
            elif verb == "forget":
                for name in [name for name in self._values if name.startswith(key)]:
                    del self._values[name]
            return {"value": self._values.get(key)}


class MailboxStore(Store):
    """A rank's mailbox as a store of torch.distributed.

    Parameters
    ----------
    ask : callable
        Takes a question and a time-out in seconds; gives the answer, or None if there was none in time.
    timeout : float
        Seconds that an operation may take.
    """

    def __init__(self, ask: Callable[[dict[str, Any], float], dict[str, Any] | None], timeout: float) -> None:
        super().__init__()
        self._ask, self._seconds = ask, timeout

    def _do(self, verb: str, key: str, timeout: float | None = None, **more: Any) -> dict[str, Any]:
        answer = self._ask({"verb": verb, "key": key, **more}, self._seconds if timeout is None else timeout)
        if answer is None:
            raise TimeoutError(f"the rank that holds {key!r} did not answer")
        return answer

    def set(self, key: str, value: Any) -> None:
        """Leave a value."""
        self._do("set", key, value=_coded(value))

    def get(self, key: str) -> bytes:
        """Wait for a value, and give it."""
        deadline, pause = time.monotonic() + self._seconds, FIRST_PAUSE
        while True:
            value = self._do("get", key, max(deadline - time.monotonic(), 0.0))["value"]
            if value is not None:
                return base64.b64decode(value)
            if time.monotonic() + pause > deadline:
                raise TimeoutError(f"nobody has left {key!r} in time")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait for keys, as long as an operation may take; longer where that is asked for."""
        seconds = self._seconds if timeout is None else max(self._seconds, timeout.total_seconds())
        deadline = time.monotonic() + seconds
        pause = FIRST_PAUSE
        for key in keys:
            while self._do("get", key, max(deadline - time.monotonic(), 0.0))["value"] is None:
                if time.monotonic() + pause > deadline:
                    raise TimeoutError(f"nobody has left {key!r} in time")
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def check(self, keys: Sequence[str]) -> bool:
        """Say whether all keys are there."""
        return all(self._do("get", key)["value"] is not None for key in keys)

    def add(self, key: str, amount: int) -> int:
        """Add to a number, and give the sum."""
        return int(self._do("add", key, value=amount)["total"])

    def compare_set(self, key: str, expected: Any, desired: Any) -> bytes:
        """Leave a value where the expected one (or nothing) stands; give what then stands there."""
        return base64.b64decode(self._do("compare", key, expected=_coded(expected), value=_coded(desired))["value"])

    def delete_key(self, key: str) -> bool:
        """Forget a value."""
        return bool(self._do("delete", key)["found"])

    def forget(self, prefix: str) -> None:
        """Forget all values whose keys begin so."""
        self._do("forget", prefix)


def _coded(value: Any) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else bytes(value)).decode()
