"""Searches that find what a table says; here, because processes can only be given classes of importable modules."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from topokit.errors import GraphError
from topokit.learned.restarts import Found, Report

__all__ = ["Broken", "Listed", "Random", "Unmet"]


@dataclass(frozen=True)
class Listed:
    """Search k finds graphs of these costs, one after the other, and takes so many seconds before each."""

    costs: tuple[tuple[float, ...], ...]
    seconds: tuple[float, ...]

    def run(self, number: int, deadline: float, report: Report) -> None:
        for k, cost in enumerate(self.costs[number]):
            time.sleep(self.seconds[number])
            if time.monotonic() > deadline:
                return
            report(Found(number, cost, (number, k)))


@dataclass(frozen=True)
class Random:
    """Search k finds ever better graphs, which depend on k alone."""

    seed: int

    def run(self, number: int, deadline: float, report: Report) -> None:
        rng = np.random.default_rng([self.seed, number])
        for cost in np.sort(rng.integers(0, 50, 4))[::-1].tolist():
            report(Found(number, float(cost), f"{number}: {cost}"))


@dataclass(frozen=True)
class Unmet:
    """Search k raises the error of limits that cannot be met."""

    number: int

    def run(self, number: int, deadline: float, report: Report) -> None:
        if number == self.number:
            raise GraphError("there is none")
        report(Found(number, 1.0, None))


class Broken:
    """A search with a fault."""

    def run(self, number: int, deadline: float, report: Report) -> None:
        raise ZeroDivisionError
