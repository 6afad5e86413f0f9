"""Learned topologies: their SLEM, and how soon they have it, beside what one would otherwise use.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_search.py
    OMP_NUM_THREADS=1 python tests/benchmarks/bench_search.py --nodes 64 --degrees 3 4 --annealing-seconds 10

All values are SLEMs with the best constant Laplacian weights, (mu_n - mu_2)/(mu_n + mu_2), computed here by numpy's
eigvalsh from the edges. A learned graph is searched by `topokit.learned.graphs` within a largest degree.

========== ===========================================================================================================
random     the best of 1,000 random regular graphs of networkx
named      the best static undirected family of topokit within the degree, over its parameters (circulant graphs: over
           all offsets), with its own weights or the best constant ones
annealing  double-edge swaps with all eigenvalues of every graph, cooled linearly to 0 over a minute; from the
           temperature 0.05 as in papers, and from one that suits large graphs
"to it"    seconds until the search has the value that annealing has at its end; "faster" is the ratio
Ramanujan  2 sqrt(d - 1)/d, which no large d-regular graph goes far below
rounds     until every error is a thousandth; beside it those of the best directed static family within the degree,
           which has as many messages, but no symmetric weights
========== ===========================================================================================================

Figures of random, named and annealed graphs are kept in the file of --cache, and taken from there the next time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import tee
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from search_baselines import (
    FACTOR,
    Annealed,
    Named,
    RandomRegular,
    anneal,
    best_directed,
    best_named,
    laplacian,
    random_regular,
    slem_of_laplacian,
)  # fmt: skip
from threadpoolctl import threadpool_limits

__all__ = [
    "Baselines",
    "Cache",
    "Found",
    "Learned",
    "Row",
    "baselines",
    "bench",
    "judge",
    "learn_with",
    "table",
    "unmet",
]

NODES, DEGREES = (64, 256, 1024), (3, 4, 6, 8)
COUNT = 1000  # random regular graphs
TEMPERATURES = (0.05, 0.0005)
SECONDS = 60.0  # of annealing, and of the search
FASTER = 10.0  # than annealing, as is claimed
CLOSE = 1e-9  # values that differ by less are the same

FigureT = TypeVar("FigureT", RandomRegular, Named, Annealed)
OnBetter = Callable[[float, float], None]


class Found(Protocol):
    """What a search gives."""

    value: float
    edges: np.ndarray
    method: str
    bound: float | None


Search = Callable[[int, int, int, float, OnBetter], Found]  # nodes, degree, seed, seconds


def topokit_search(nodes: int, degree: int, seed: int, seconds: float, on_better: OnBetter) -> Found:
    """Search with topokit."""
    from topokit.learned import Limits, learn

    limits = Limits(nodes=nodes, max_degree=degree)
    found: Found = learn(limits, objective="laplacian", seed=seed, time_limit=seconds, on_better=on_better)
    return found


def judge(nodes: int, degree: int, edges: np.ndarray) -> float:
    """Give the SLEM of a graph with its best constant weights.

    Raises
    ------
    ValueError
        If it is no connected simple graph within the degree.
    """
    if edges.ndim != 2 or edges.shape[1] != 2 or not np.issubdtype(edges.dtype, np.integer):
        raise ValueError(f"no pairs of nodes, but an array of shape {edges.shape} and {edges.dtype}")
    if edges.min(initial=0) < 0 or edges.max(initial=0) >= nodes:
        raise ValueError(f"a node that is not in 0 ... {nodes - 1}")
    if not np.all(edges[:, 0] < edges[:, 1]) or len(np.unique(edges, axis=0)) < len(edges):
        raise ValueError("an edge from a node to itself, from the larger to the smaller, or twice")
    largest = np.bincount(edges.ravel(), minlength=nodes).max()
    if largest > degree:
        raise ValueError(f"a node of degree {largest}, more than {degree}")
    value = slem_of_laplacian(laplacian(nodes, edges))
    if value == 1.0:
        raise ValueError("not connected")
    return value


class Cache:
    """Figures by what they are of, kept in a file if there is one.

    Parameters
    ----------
    path : Path, optional
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.known: dict[str, Any] = json.loads(path.read_text()) if path and path.exists() else {}

    def get(self, of: Callable[..., FigureT], make: Callable[[], FigureT], *key: object) -> FigureT:
        """Give a figure that is known, or make it, and keep it."""
        name = " ".join([of.__name__, *map(str, key)])
        if name not in self.known:
            self.known[name] = asdict(make())
            if self.path:
                self.path.write_text(json.dumps(self.known, indent=1))
        return of(**self.known[name])


@dataclass(frozen=True)
class Baselines:
    """What learned graphs are measured against.

    Attributes
    ----------
    random : RandomRegular
    named, directed : Named
        SLEM; rounds until errors are a thousandth.
    annealed : tuple of Annealed
        By temperature.
    """

    random: RandomRegular
    named: Named
    directed: Named
    annealed: tuple[Annealed, ...]


@dataclass(frozen=True)
class Learned:
    """What the search made of one size.

    Attributes
    ----------
    value : float or None
        SLEM computed here; None if the graph breaks a rule.
    method : str
    seconds, cpu_seconds : float
        Of this process and those that it has started and ended.
    bound : float or None
        What it has proved no graph to be below.
    trace : tuple of (float, float)
        Seconds and values, as they got better.
    remark : str
        What is wrong.
    """

    value: float | None
    method: str
    seconds: float
    cpu_seconds: float
    bound: float | None
    trace: tuple[tuple[float, float], ...]
    remark: str = ""

    def seconds_to(self, value: float) -> float | None:
        """Give the seconds until a value was met, or None."""
        return next((seconds for seconds, met in self.trace if met <= value + CLOSE), None)


@dataclass(frozen=True)
class Row:
    """One number of nodes and degree."""

    nodes: int
    degree: int
    against: Baselines
    learned: Learned | None

    @property
    def ramanujan(self) -> float:
        """2 sqrt(d - 1)/d."""
        return 2 * math.sqrt(self.degree - 1) / self.degree


def _rounds(value: float) -> int:
    """Give the rounds in which a SLEM makes every error a thousandth."""
    return 1 if value <= 1 / FACTOR else math.ceil(math.log(FACTOR) / -math.log(value) - CLOSE)


def baselines(
    nodes: int, degree: int, *, count: int, seconds: float, temperatures: Sequence[float], seed: int, cache: Cache
) -> Baselines:
    """Measure what learned graphs are measured against; no annealing in 0 seconds."""

    def annealed(temperature: float) -> Annealed:
        found, edges = anneal(nodes, degree, seconds=seconds, temperature=temperature, seed=seed)
        assert abs(judge(nodes, degree, edges) - found.value) < CLOSE
        return found

    size = nodes, degree
    return Baselines(
        cache.get(RandomRegular, lambda: random_regular(*size, count), *size, count),
        cache.get(Named, lambda: best_named(*size), *size),
        cache.get(Named, lambda: best_directed(*size), *size, "directed"),
        tuple(
            cache.get(Annealed, lambda t=t: annealed(t), *size, t, seconds, seed) for t in temperatures if seconds > 0
        ),
    )


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def learn_with(search: Search, nodes: int, degree: int, *, seconds: float, seed: int = 0) -> Learned:
    """Run a search, note when it got better by the clock here, and judge what it gives."""
    trace: list[tuple[float, float]] = []
    start, worked = time.perf_counter(), _cpu()
    found = search(
        nodes, degree, seed, seconds, lambda _, value: trace.append((time.perf_counter() - start, float(value)))
    )
    took, worked = time.perf_counter() - start, _cpu() - worked
    value, remark = None, ""
    try:
        value = judge(nodes, degree, np.asarray(found.edges))
    except ValueError as error:
        remark = f"gives {error}"
    else:
        if abs(value - found.value) > CLOSE:
            remark = f"says {found.value:.9f}"
        trace = [(when, met) for when, met in trace if met >= value - CLOSE]  # better ones were never had
        if not trace or trace[-1][1] > value + CLOSE:
            trace.append((took, value))  # what was not told before the end counts from the end
    bound = None if found.bound is None else float(found.bound)
    if value is not None and bound is not None and value < bound - CLOSE:
        remark = f"is below its bound {bound:.9f}"
    kept = tuple(trace) if value is not None else ()
    return Learned(value, found.method, took, worked, bound, kept, remark)


def bench(
    nodes: Sequence[int] = NODES,
    degrees: Sequence[int] = DEGREES,
    search: Search | None = topokit_search,
    *,
    count: int = COUNT,
    annealing_seconds: float = SECONDS,
    temperatures: Sequence[float] = TEMPERATURES,
    learn_seconds: float = SECONDS,
    seed: int = 0,
    cache: Cache | None = None,
) -> Iterator[Row]:
    """Measure all sizes.

    Parameters
    ----------
    nodes, degrees : sequence of int
    search : callable or None
        None to measure what searches are compared with only.
    count : int
        Random regular graphs.
    annealing_seconds, learn_seconds : float
        Of annealing from each temperature, and of the search.
    temperatures : sequence of float
    seed : int
        Of annealing and of the search.
    cache : Cache, optional
    """
    cache = cache or Cache()
    if search is topokit_search:
        import topokit.learned  # noqa: F401, not on the clock
    for n in nodes:
        for degree in degrees:
            if n * degree % 2 or degree >= n:
                continue
            against = baselines(
                n, degree, count=count, seconds=annealing_seconds, temperatures=temperatures, seed=seed, cache=cache
            )
            learned = learn_with(search, n, degree, seconds=learn_seconds, seed=seed) if search else None
            yield Row(n, degree, against, learned)


def unmet(row: Row) -> Iterator[str]:
    """Say what a learned graph is claimed to be better than, and is not."""
    if row.learned is None:
        return
    if row.learned.remark:
        yield row.learned.remark
    if row.learned.value is None:
        return
    for what, value in (("best random", row.against.random.value), ("best named", row.against.named.value)):
        if row.learned.value >= value - CLOSE:
            yield f"{row.learned.value:.6f} is not below the {what} graph's {value:.6f}"
    for found in row.against.annealed:
        needed = row.learned.seconds_to(found.value)
        if needed is None:
            yield f"{row.learned.value:.6f} is not down to {found.value:.6f}, annealed from {found.temperature:g}"
        elif needed * FASTER > found.seconds:
            yield f"{needed:.2g} s to what annealing from {found.temperature:g} has after {found.seconds:.3g} s"


def _head(row: Row) -> tuple[str, ...]:
    annealed = [f"annealed from {found.temperature:g} (graphs), to it, faster" for found in row.against.annealed]
    return (
        "n", "degree", f"best of {row.against.random.count:,} random", "best named", *annealed, "learned", "by",
        "seconds", "of Ramanujan", "bound", "rounds", "directed: rounds",
    )  # fmt: skip


def _cells(row: Row) -> Iterator[str]:
    against, learned = row.against, row.learned
    yield f"{row.nodes}"
    yield f"{row.degree}"
    yield f"{against.random.value:.6f}"
    yield f"{against.named.value:.6f} {against.named.name}".strip()
    for found in against.annealed:
        needed = None if learned is None else learned.seconds_to(found.value)
        late = "" if learned is None else ", not met"
        reached = late if needed is None else f", {needed:.2g} s, {found.seconds / max(needed, 1e-6):,.3g}"
        yield f"{found.value:.6f} ({found.evaluations:,}){reached}"
    if learned is None:
        yield from [""] * 6
    else:
        yield "none" if learned.value is None else f"{learned.value:.6f}"
        yield learned.method.replace("|", "/")
        yield f"{learned.seconds:.1f}"
        yield "" if learned.value is None else f"{learned.value / row.ramanujan:.3f}"
        yield "" if learned.bound is None else f"{learned.bound:.6f}"
        yield "" if learned.value is None else f"{_rounds(learned.value)}"
    yield f"{against.directed.value:g} {against.directed.name}" if against.directed.name else ""


def table(rows: Iterable[Row]) -> Iterator[str]:
    """Give the lines of a Markdown table, as the rows come."""
    for place, row in enumerate(rows):
        if place == 0:
            head = _head(row)
            yield f"| {' | '.join(head)} |"
            yield f"|{' --- |' * len(head)}"
        yield f"| {' | '.join(_cells(row))} |"


def main() -> None:
    """Print the table, and what it does not show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES)
    parser.add_argument("--degrees", type=int, nargs="+", default=DEGREES)
    parser.add_argument("--count", type=int, default=COUNT, help="random regular graphs")
    parser.add_argument("--annealing-seconds", type=float, default=SECONDS, help="0: no annealing", metavar="SECONDS")
    parser.add_argument(
        "--temperatures", type=float, nargs="+", default=TEMPERATURES, help="that annealing starts from"
    )
    parser.add_argument("--learn-seconds", type=float, default=SECONDS, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0, help="of annealing and of the search")
    parser.add_argument("--cache", type=Path, help="file of figures that need not be made again", metavar="FILE")
    parser.add_argument("--no-search", action="store_true", help="only what the search is compared with")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for processes that the search may start
    with threadpool_limits(limits=1):
        rows = bench(
            options.nodes,
            options.degrees,
            None if options.no_search else topokit_search,
            count=options.count,
            annealing_seconds=options.annealing_seconds,
            temperatures=options.temperatures,
            learn_seconds=options.learn_seconds,
            seed=options.seed,
            cache=Cache(options.cache),
        )
        if options.json:
            print(json.dumps([asdict(row) for row in rows], indent=2))
            return
        print(f"{os.cpu_count()} cores; search and annealing on one thread; seed {options.seed}\n")
        ours, shown = tee(rows)
        for line in table(shown):
            print(line, flush=True)
    print()
    for row in ours:
        for claim in unmet(row):
            print(f"n = {row.nodes}, degree {row.degree}: {claim}")


if __name__ == "__main__":
    main()
