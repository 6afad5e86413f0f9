"""Searches that know nothing of each other, one after the other or on several processes, with the same result.

Searches are numbered. The best is the one of least cost, and of equal ones the first; where one meets the bound, those
after it do not count. So it does not matter how many processes share the work, unless time or Ctrl-C cuts it short.
"""

from __future__ import annotations

import math
import multiprocessing
import queue
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from topokit.errors import TopokitError
from topokit.optimal.threads import few_threads

__all__ = ["Found", "Report", "Search", "Stopped", "run_searches"]

Stopped: TypeAlias = Literal["end", "bound", "time", "interrupt"]
WAIT = 0.2  # seconds between two looks at whether processes are alive
DIGITS = 10  # of costs that are compared
GRACE = 2.0  # seconds after the deadline for searches to notice


@dataclass(frozen=True)
class Found:
    """A graph that a search came upon.

    Attributes
    ----------
    number : int
        Of the search.
    cost : float
    what : Any
        The graph, and how it was found.
    """

    number: int
    cost: float
    what: Any

    def better_than(self, other: Found | None) -> bool:
        """Say whether it is of less cost, or of the same and from an earlier search."""
        return other is None or self._place < other._place

    @property
    def _place(self) -> tuple[float, int]:
        # The same graph with other numbers of nodes has the same cost but for rounding.
        return float(f"{self.cost:.{DIGITS - 1}e}"), self.number


Report: TypeAlias = Callable[[Found], None]


class Search(Protocol):
    """A family of searches."""

    def run(self, number: int, deadline: float, report: Report) -> None:
        """Run one of them, and report every graph that is better than its former ones."""


@dataclass
class _Board:
    """What is known so far."""

    count: int
    at_most: float
    report: Report
    ended: Report
    best: Found | None = None

    def take(self, found: Found) -> None:
        if found.number >= self.count:
            return
        if found.cost <= self.at_most:
            # What later searches found would not have been known, had they run one after the other.
            self.count = found.number + 1
            if self.best is not None and self.best.number >= self.count:
                self.best = None
        if found.better_than(self.best):
            self.best = found
            self.report(found)

    def end(self) -> None:
        """Hear that a search is over."""
        if self.best is not None:
            self.ended(self.best)


def run_searches(
    search: Search,
    count: int,
    *,
    report: Report,
    ended: Report = lambda found: None,
    at_most: float = -math.inf,
    deadline: float = math.inf,
    workers: int = 1,
    order: int = 0,
) -> tuple[Found | None, Stopped]:
    """Run searches 0 ... count - 1 (with a deadline, as many as there is time for) and give the best graph.

    Parameters
    ----------
    search : Search
        With several workers it is pickled.
    count : int
    report : callable
        Hears of every graph that is better than all before.
    ended : callable
        Hears of the best graph so far whenever a search is over.
    at_most : float
        A cost at which the search is over.
    deadline : float
        Of `time.monotonic`.
    workers : int
        Processes; with one, searches run in this one.
    order : int
        Of the matrices that the searches handle.

    Returns
    -------
    best : Found or None
        None if time was up before any graph was found.
    stopped : {"end", "bound", "time", "interrupt"}

    Raises
    ------
    KeyboardInterrupt
        If Ctrl-C comes before any graph was found.
    """
    board = _Board(count, at_most, report, ended)
    try:
        with few_threads(order):
            if workers == 1:
                _alone(search, board, deadline)
            else:
                _together(search, board, deadline, min(workers, count), order)
                if board.best is None:  # time was up before the processes had started
                    _alone(search, board, deadline)
    except KeyboardInterrupt:
        if board.best is None:
            raise
        return board.best, "interrupt"
    if board.best is not None and board.best.cost <= at_most:
        return board.best, "bound"
    return board.best, "time" if time.monotonic() > deadline else "end"


def _alone(search: Search, board: _Board, deadline: float) -> None:
    number = 0
    while number < board.count and (number == 0 or time.monotonic() < deadline):
        search.run(number, deadline, board.take)
        board.end()
        number += 1


def _together(search: Search, board: _Board, deadline: float, workers: int, order: int) -> None:
    context = multiprocessing.get_context("spawn")
    numbers: Any = context.Value("q", 0)
    last: Any = context.Value("q", board.count)
    answers: Any = context.Queue()
    # Clocks of different processes need not agree on anything but durations.
    left = deadline - time.monotonic()
    processes = [
        context.Process(target=_work, args=(search, numbers, last, answers, left, order), daemon=True)
        for _ in range(workers)
    ]
    # What they inherit keeps Ctrl-C from them while they start; the process that waits keeps what was found.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for process in processes:
            process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        working = workers
        while working and time.monotonic() < deadline + GRACE:
            try:
                answer = answers.get(timeout=WAIT)
            except queue.Empty:
                dead = [p for p in processes if p.exitcode not in (None, 0)]
                if dead:
                    raise RuntimeError(f"a worker process ended with exit code {dead[0].exitcode}") from None
                continue
            if isinstance(answer, BaseException):
                raise answer
            if answer is None:
                working -= 1
            elif isinstance(answer, int):
                board.end()
            else:
                board.take(answer)
                last.value = board.count
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _work(search: Search, numbers: Any, last: Any, answers: Any, left: float, order: int) -> None:
    """Take the next number, again and again."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    deadline = time.monotonic() + left
    try:
        with few_threads(order):
            while True:
                with numbers.get_lock():
                    number = numbers.value
                    numbers.value += 1
                if number >= last.value or (number > 0 and time.monotonic() > deadline):
                    break
                search.run(number, deadline, answers.put)
                answers.put(number)
        answers.put(None)
    except TopokitError as error:
        answers.put(error)
