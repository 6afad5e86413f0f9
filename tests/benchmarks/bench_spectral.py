"""Time, memory and truth of the spectral gap of large mixing matrices, beside what one would otherwise write.

Every measurement runs in a process of its own, with a time limit; building the matrix is not counted. "peak" is the
memory above what the process held before. Use one thread to compare::

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_spectral.py
    OMP_NUM_THREADS=1 python tests/benchmarks/bench_spectral.py --only grid --limit 60 --json

eigsh, of SciPy, is applied to W - J. networkx takes the graph with its weights: its algebraic connectivity is
1 - lambda_2. A value is said to be wrong where it lies outside topokit's bounds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from scipy import sparse

from topokit.spectral import limits, one_matrix, spectrum

__all__ = ["INSTANCES", "METHODS", "Measurement", "measure", "random_regular_matrix", "run_here"]

DENSE = 4000  # nodes that a dense decomposition is tried with
LIMIT = 60.0  # seconds of a measurement
SECONDS_OF_BUILDING = 600.0


@dataclass(frozen=True)
class Measurement:
    """What one method made of one matrix: its gap, between bounds where it gives any."""

    instance: str
    nodes: int
    method: str
    seconds: float | None
    cpu_seconds: float | None
    peak_mb: float | None
    gap: float | None
    lower: float | None
    upper: float | None
    verdict: str


def metropolis_hastings(nodes: int, edges: np.ndarray) -> sparse.csr_array:
    """Weights 1/(1 + larger degree) on the edges, without a graph object."""
    degree = np.bincount(edges.ravel(), minlength=nodes)
    weight = np.tile(1 / (1 + degree[edges].max(axis=1)), 2)
    A = sparse.csr_array((weight, (edges.ravel("F"), edges[:, ::-1].ravel("F"))), shape=(nodes, nodes))
    return sparse.csr_array(A + sparse.diags_array(1 - A @ np.ones(nodes)))


def random_regular_edges(nodes: int, degree: int, seed: int) -> np.ndarray:
    """Pair stubs at random, and those of loops and double edges again with as many others."""
    rng = np.random.default_rng(seed)
    edges = rng.permutation(np.repeat(np.arange(nodes), degree)).reshape(-1, 2)
    while True:
        edges.sort(axis=1)
        bad = np.ones(len(edges), dtype=bool)
        bad[np.unique(edges[:, 0] * nodes + edges[:, 1], return_index=True)[1]] = False
        bad |= edges[:, 0] == edges[:, 1]
        if not bad.any():
            return edges
        mixed = np.union1d(np.flatnonzero(bad), rng.integers(0, len(edges), int(bad.sum())))
        edges[mixed] = rng.permutation(edges[mixed].ravel()).reshape(-1, 2)


def random_regular_matrix(nodes: int, degree: int = 4, seed: int = 0) -> sparse.csr_array:
    """Metropolis-Hastings weights of a random regular graph."""
    return metropolis_hastings(nodes, random_regular_edges(nodes, degree, seed))


def grid_matrix(rows: int, columns: int) -> sparse.csr_array:
    """Metropolis-Hastings weights of a grid."""
    number = np.arange(rows * columns).reshape(rows, columns)
    down = np.column_stack((number[:-1].ravel(), number[1:].ravel()))
    right = np.column_stack((number[:, :-1].ravel(), number[:, 1:].ravel()))
    return metropolis_hastings(rows * columns, np.concatenate((down, right)))


def ring_matrix(nodes: int) -> sparse.csr_array:
    """Metropolis-Hastings weights of a ring."""
    own = np.arange(nodes)
    return metropolis_hastings(nodes, np.column_stack((own, (own + 1) % nodes)))


INSTANCES: dict[str, Callable[[], sparse.csr_array]] = {
    "random 4-regular, 1,000,000": lambda: random_regular_matrix(1_000_000),
    "grid 500 x 500": lambda: grid_matrix(500, 500),
    "path 100,000": lambda: grid_matrix(1, 100_000),
    "random 4-regular, 2,000": lambda: random_regular_matrix(2000),
    "ring 1,024": lambda: ring_matrix(1024),
}

Found = tuple[float, float | None, float | None, str]  # gap, bounds of the gap, remark


def _topokit(W: sparse.csr_array) -> Found:
    result = spectrum(W, max_seconds=SECONDS_OF_BUILDING)  # the limit of the process is the one that counts
    assert result.gap is not None
    return result.gap, 1 - result.bounds.upper, 1 - result.bounds.lower, f"{result.method}; {result.sentence()}"


def _numeric(W: sparse.csr_array) -> Found:
    """Do without closed forms and dense decompositions."""
    limits.DENSE_LIMIT = 1
    one_matrix.group_shape = lambda W: None
    one_matrix.closed_ends = lambda graph: None
    return _topokit(W)


def _dense(W: sparse.csr_array) -> Found:
    if W.shape[0] > DENSE:
        raise MemoryError(f"would need {8 * W.shape[0] ** 2 / 1e9:.0f} GB")
    values = np.linalg.eigvalsh(W.toarray() - 1 / W.shape[0])
    return 1 - float(np.abs(values).max()), None, None, ""


def _eigsh(W: sparse.csr_array, **options: Any) -> Found:
    from scipy.sparse.linalg import LinearOperator, eigsh

    operator = LinearOperator(W.shape, matvec=lambda x: W @ x - x.mean(), dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(W.shape[0])
    values = eigsh(operator, k=1, which="LM", v0=start, return_eigenvectors=False, **options)
    return 1 - float(np.abs(values).max()), None, None, ""


def _plain(W: sparse.csr_array, steps: int = 500) -> Found:
    """Lanczos as in a textbook: a number without bounds, and the yardstick for how fast the machine is today."""
    from scipy.linalg import eigvalsh_tridiagonal

    before, now, beta = np.zeros(W.shape[0]), np.random.default_rng(0).standard_normal(W.shape[0]), 0.0
    now -= now.mean()
    now /= np.linalg.norm(now)
    diagonal, off_diagonal = [], []
    for _ in range(min(steps, W.shape[0] - 1)):
        ahead = W @ now - beta * before
        diagonal.append(float(ahead @ now))
        ahead -= diagonal[-1] * now
        ahead -= ahead.mean()
        beta = float(np.linalg.norm(ahead))
        off_diagonal.append(beta)
        before, now = now, ahead / beta
    values = eigvalsh_tridiagonal(diagonal, off_diagonal[:-1])
    return 1 - float(np.abs(values).max()), None, None, ""


def _networkx(graph: Any) -> Found:
    return float(nx.algebraic_connectivity(graph, weight="weight", seed=0)), None, None, ""


METHODS: dict[str, Callable[[Any], Found]] = {
    "topokit": _topokit,
    "topokit, no closed form": _numeric,
    "Lanczos, 500 steps": _plain,
    "numpy eigvalsh": _dense,
    "eigsh": _eigsh,
    "eigsh, ncv=80": lambda W: _eigsh(W, ncv=80),
    "eigsh, tol=1e-4": lambda W: _eigsh(W, tol=1e-4),
    "networkx": _networkx,
}


def _memory(what: str) -> float:
    """Resident memory of this process in MB, now (VmRSS) or at most (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    return float("nan")


def run_here(method: str, W: Any) -> dict[str, Any]:
    """Run one method in this process."""
    given = nx.from_scipy_sparse_array(W) if method == "networkx" else W
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # from now on, VmHWM counts anew
    before, start, worked = _memory("VmRSS"), time.perf_counter(), time.process_time()
    try:
        gap, lower, upper, remark = METHODS[method](given)
    except Exception as error:
        return {"verdict": f"{type(error).__name__}: {error}".split("\n")[0]}
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - worked,
        "peak_mb": _memory("VmHWM") - before,
        "gap": gap,
        "lower": lower,
        "upper": upper,
        "verdict": remark,
    }


def _child(instance: str, method: str, pipe: Any) -> None:
    W = INSTANCES[instance]()
    if method == "networkx":
        # Converting is not counted either: done once here so that the clock starts at the method.
        graph = nx.from_scipy_sparse_array(W)
        METHODS["networkx"], plain = (lambda _: plain(graph)), METHODS["networkx"]
        W = sparse.csr_array((1, 1))
    pipe.send(None)
    pipe.send(run_here(method, W))


def _run(instance: str, method: str, limit: float) -> dict[str, Any]:
    """Run one method in a process of its own, and end that at the limit."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(instance, method, theirs))
    process.start()
    theirs.close()
    try:
        if not ours.poll(SECONDS_OF_BUILDING):
            return {"verdict": "not built in time"}
        ours.recv()
        if not ours.poll(limit):
            return {"verdict": f"not finished in {limit:.0f} s"}
        return dict(ours.recv())
    except EOFError:
        return {"verdict": "died, probably for lack of memory"}
    finally:
        process.kill()
        process.join()


def judge(found: dict[str, Any], truth: dict[str, Any]) -> str:
    """Compare a gap with bounds that are known to hold."""
    if found.get("gap") is None or found.get("lower") is not None:
        return str(found["verdict"])
    gap, lower, upper = found["gap"], truth.get("lower"), truth.get("upper")
    if lower is None or upper is None:
        return ""
    if lower - 1e-12 <= gap <= upper + 1e-12:
        return "right"
    away = max(lower - gap, gap - upper) / max(upper, 1e-300)
    if away < 1e-3:
        return f"right but for {away:.1g} of the gap"
    return f"gap wrong by {away:.2%}" if away < 1 else f"gap wrong by a factor of {1 + away:.1f}"


def measure(only: str = "", limit: float = LIMIT, methods: tuple[str, ...] = tuple(METHODS)) -> Iterator[Measurement]:
    """Measure the instances whose name contains a text, with every method."""
    for instance, build in INSTANCES.items():
        if only not in instance:
            continue
        nodes = build().shape[0]
        truth: dict[str, Any] = {}
        for method in methods:
            found = _run(instance, method, limit)
            truth = truth or found
            values = {key: found.get(key) for key in ("seconds", "cpu_seconds", "peak_mb", "gap", "lower", "upper")}
            yield Measurement(instance, nodes, method, verdict=judge(found, truth), **values)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of the name of the instances", metavar="TEXT")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds of a measurement", metavar="SECONDS")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    measured = measure(options.only, options.limit)
    if options.json:
        print(json.dumps([asdict(one) for one in measured], indent=2))
        return
    print(f"{os.cpu_count()} cores; ratios are to topokit's seconds")
    base = None
    for one in measured:
        if one.method == "topokit":
            base = one.seconds
            print(
                f"\n{one.instance}\n{'method':24} {'seconds':>8} {'cpu s':>8} {'ratio':>7} {'peak MB':>8} {'gap':>12}"
            )
        seconds = "-" if one.seconds is None else f"{one.seconds:.2f}"
        cpu = "-" if one.cpu_seconds is None else f"{one.cpu_seconds:.2f}"
        ratio = "-" if one.seconds is None or not base else f"{one.seconds / base:.2f}"
        peak = "-" if one.peak_mb is None else f"{one.peak_mb:.0f}"
        gap = "-" if one.gap is None else f"{one.gap:.6g}"
        print(f"{one.method:24} {seconds:>8} {cpu:>8} {ratio:>7} {peak:>8} {gap:>12}  {one.verdict}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
