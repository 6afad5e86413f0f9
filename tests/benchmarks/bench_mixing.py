"""Time of one round of mixing, in units of a plain copy of the same rows, beside PyTorch's sparse and dense products.

Mixing has to read each row once and write it once, as a copy does. All figures come from one run, with repetitions
interleaved, because the speed of memory depends on what else the machine does::

    python tests/benchmarks/bench_mixing.py
    python tests/benchmarks/bench_mixing.py --columns 300000 --repetitions 31 --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterable

import numpy as np
import torch

from topokit_trainer.mixing import MixingOperator

__all__ = ["GRAPHS", "measure"]

NODES = 64


def _torus(side: int) -> list[list[int]]:
    return [
        [(r + dr) % side * side + (c + dc) % side for dr, dc in ((0, 1), (0, -1), (1, 0), (-1, 0))]
        for r in range(side)
        for c in range(side)
    ]


def _circulant(offsets: Iterable[int]) -> list[list[int]]:
    return [[(i + o) % NODES for o in offsets] for i in range(NODES)]


GRAPHS: dict[str, list[list[int]]] = {
    "one-peer": _circulant([4]),
    "ring": _circulant([1, -1]),
    "torus": _torus(8),
    "exponential": _circulant([1, 2, 4, 8, 16, 32]),
    "complete": _circulant(range(1, NODES)),
}


def _ways(neighbours: list[list[int]], x: torch.Tensor, out: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Give the ways to mix with equal weights: in place, and by PyTorch's two products."""
    degree = len(neighbours[0])
    index = np.array([sorted(near) for near in neighbours])
    weight = 1 / (degree + 1)
    operator = MixingOperator(NODES, np.arange(0, index.size + 1, degree), index.ravel(), np.full(index.size, weight))
    dense = torch.eye(NODES) * weight
    dense[torch.arange(NODES).unsqueeze(1), torch.from_numpy(index)] = weight
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # sparse CSR is a beta feature
        sparse = dense.to_sparse_csr()
    return {
        "topokit": lambda: operator.mix_(x),
        "torch CSR": lambda: torch.mm(sparse, x, out=out),
        "torch dense": lambda: torch.mm(dense, x, out=out),
    }


def measure(
    graphs: Iterable[str] = GRAPHS, *, columns: int = 1_000_000, repetitions: int = 11
) -> dict[str, dict[str, float]]:
    """Measure the time of mixing 64 rows of float32 over that of copying them.

    Parameters
    ----------
    graphs : iterable of str
        Names out of `GRAPHS`.
    columns : int
        Length of a row; the stack should be larger than the caches.
    repetitions : int
        Each gives one ratio; medians are returned.

    Returns
    -------
    dict of str to dict of str to float
        For each graph, the median ratio of each way; ``"topokit, after a product"`` is timed right after a
        multi-threaded operation of PyTorch, whose threads then still hold the processors.
    """
    x = torch.randn(NODES, columns, generator=torch.Generator().manual_seed(0))
    out = torch.empty_like(x)
    square = torch.randn(512, 512)

    def seconds(function: Callable[[], object]) -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    results: dict[str, dict[str, float]] = {}
    for graph in graphs:
        ways = _ways(GRAPHS[graph], x, out)
        for way in ways.values():
            way()
        ratios: dict[str, list[float]] = {}
        for _ in range(repetitions):
            copy = seconds(lambda: out.copy_(x))
            times = {name: seconds(way) for name, way in ways.items()}
            square.mm(square)
            times["topokit, after a product"] = seconds(ways["topokit"])
            for name, value in times.items():
                ratios.setdefault(name, []).append(value / copy)
        results[graph] = {name: statistics.median(values) for name, values in ratios.items()}
    return results


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=1_000_000, help="length of a row (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=11, help="medians are over so many (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    results = measure(columns=options.columns, repetitions=options.repetitions)
    if options.json:
        setting = {"nodes": NODES, "columns": options.columns, "threads": torch.get_num_threads()}
        print(json.dumps({**setting, "time_over_copy": results}, indent=2, sort_keys=True))
        return
    print(f"{NODES} rows of {options.columns} float32, {torch.get_num_threads()} threads; time over that of a copy")
    names = list(next(iter(results.values())))
    print(f"{'':12}", *(f"{name:>{len(name) + 2}}" for name in names))
    for graph, row in results.items():
        print(f"{graph:12}", *(f"{row[name]:{len(name) + 2}.2f}" for name in names))


if __name__ == "__main__":
    main()
