"""Real ranks that a test can kill, stop, wake and start again."""

from __future__ import annotations

import os
import queue as queues
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import ranks as forked

__all__ = ["MortalRanks", "mortal_ranks"]


class MortalRanks:
    """Ranks under way.

    Attributes
    ----------
    store : torch.distributed.Store
        The one that the ranks see through ``open_store``: a test and its ranks leave word for one another in it.
    """

    def __init__(self, function: Callable[..., Any], size: int, arguments: tuple[Any, ...], timeout: float) -> None:
        from torch.distributed import PrefixStore, TCPStore

        forked._start_server()
        self.function, self.size, self.arguments, self.timeout = function, size, arguments, timeout
        self._server = TCPStore(
            "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=timeout)
        )
        self.store = PrefixStore("topokit 0", self._server)
        self._queue: Any = forked._context.Queue()
        self.processes: list[Any] = [None] * size
        self._results: dict[int, Any] = {}

    def start(self, rank: int) -> None:
        """Start a rank, again if need be."""
        self.processes[rank] = forked._context.Process(
            target=forked._rank,
            args=(rank, self.size, self._server.port, self.function, self.arguments, self._queue),
            daemon=True,
        )
        self.processes[rank].start()

    def signal(self, rank: int, number: int) -> None:
        """Send a signal to a rank; after SIGKILL, wait until it is gone."""
        os.kill(self.processes[rank].pid, number)
        if number == signal.SIGKILL:
            self.processes[rank].join()

    def word(self, *names: str) -> None:
        """Wait until ranks have left word."""
        self.store.wait(list(names))

    def results(self, *wanted: int) -> list[Any]:
        """Wait for the results of some ranks; raise the first failure."""
        deadline = time.monotonic() + self.timeout
        while not set(wanted) <= set(self._results):
            try:
                number, failure, value = self._queue.get(timeout=max(deadline - time.monotonic(), 0.01))
            except queues.Empty:
                raise AssertionError(f"no results of ranks {sorted(set(wanted) - set(self._results))}") from None
            if failure:
                raise AssertionError(f"rank {number} failed:\n{failure}")
            self._results[number] = value
        return [self._results[rank] for rank in wanted]


@contextmanager
def mortal_ranks(
    function: Callable[..., Any], size: int, *arguments: Any, timeout: float = 60.0
) -> Iterator[MortalRanks]:
    """Run a function of an importable module on ranks; all are gone at the end."""
    group = MortalRanks(function, size, arguments, timeout)
    try:
        for rank in range(size):
            group.start(rank)
        yield group
    finally:
        for process in group.processes:
            if process is not None:
                process.join(timeout=0.1 if process.is_alive() else None)
                if process.is_alive():
                    process.kill()
                    process.join()
        group._queue.close()
