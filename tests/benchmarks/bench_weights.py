"""Optimal mixing weights: seconds, SLEM, proof and memory of topokit beside what one would otherwise use.

    python tests/benchmarks/bench_weights.py
    python tests/benchmarks/bench_weights.py --nodes 64 --grids --time-limit 30 --methods topokit mixingmatrix

Every method runs in a process of its own on the same graph, and hands over a matrix, whose SLEM is computed here by
numpy's eigvalsh, and what it breaks of the rules measured. "width" is (SLEM - bound)/(1 - SLEM), with the best bound
that the certificates of topokit have proved so far, computed again from what they store. Seconds are those of the call,
modelling included, imports not; a process that takes longer than the time limit is ended. Memory is the largest that
the process held, imports included. Ratios are to the first of topokit's rows, which stops at a width of 1e-3.

The peers are installed from PyPI into an environment of their own, .venv-peers, unless --peers names a Python that has
them. The program for CLARABEL and SCS is as one finds it in papers: -s I <= I - A diag(w) A^T - J <= s I.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from scipy import sparse

# The processes of the peers run this file, too: nothing of topokit may be imported at its head.

__all__ = ["METHODS", "OBJECTIVES", "Row", "bench", "build", "judge", "peers_python", "table"]

ROOT = Path(__file__).parents[2]
PEERS = ("mixingmatrix", "cvxpy", "clarabel", "scs", "networkx")
OBJECTIVES = ("fdla", "fmmc")
WIDTH, NARROW = 1e-3, 1e-6
TIME_LIMIT = 120.0
MEMORY = 12.0  # GB of addresses that a process may have
STARTING = 120.0  # seconds until a process has imported what it needs
GRACE = 15.0  # seconds, and a part of the limit, for a method that stops by itself
BROKEN = 1e-12  # from which on a broken rule is shown

Found = tuple[Any, str, dict[str, Any]]  # matrix, remark, more


# What runs in the processes


def _topokit(graph: nx.Graph, objective: str, limit: float, width: float = WIDTH) -> Found:
    from topokit.optimal import optimal_weights

    found = optimal_weights(graph, objective, width=width, time_limit=limit)
    matrix = found.matrix
    W = sparse.coo_array((matrix.weight, (matrix.target, matrix.source)), shape=(matrix.nodes, matrix.nodes))
    remark = f"{found.method}, {found.iterations} iterations" + (", out of time" if found.stopped == "time" else "")
    return W, remark, {"certificate": found.certificate}


def _with_cvxpy(graph: nx.Graph, objective: str, solver: str) -> Found:
    import cvxpy as cp

    nodes = graph.number_of_nodes()
    A = nx.incidence_matrix(graph, nodelist=range(nodes), oriented=True).toarray()
    w, s = cp.Variable(A.shape[1]), cp.Variable()
    W = np.eye(nodes) - A @ cp.diag(w) @ A.T
    J = np.full((nodes, nodes), 1 / nodes)
    limits = [W - J << s * np.eye(nodes), W - J >> -s * np.eye(nodes)]
    if objective == "fmmc":
        limits += [w >= 0, cp.diag(W) >= 0]
    program = cp.Problem(cp.Minimize(s), limits)
    program.solve(solver=solver)
    return W.value, str(program.status), {}


def _mixingmatrix(graph: nx.Graph, objective: str, limit: float) -> Found:
    import mixingmatrix

    # Its choice where cvxpy is not installed beside it; below 60 nodes it would call cvxpy.
    found = mixingmatrix.solve(graph, method="admm", time_limit=limit, allow_negative=objective == "fdla")
    order = np.argsort(found.nodes)
    W = found.weights.tocsr()[order][:, order]
    return W, f"{found.status}, {found.iterations} iterations", {}


def _best_constant(graph: nx.Graph, objective: str, limit: float) -> Found:
    nodes = graph.number_of_nodes()
    L = nx.laplacian_matrix(graph, nodelist=range(nodes)).toarray().astype(np.float64)
    values = np.linalg.eigvalsh(L)
    weight = 2 / (values[1] + values[-1])
    if objective == "fmmc":
        weight = min(weight, 1 / L.max())
    return np.eye(nodes) - weight * L, "closed form", {}


METHODS: dict[str, Callable[[nx.Graph, str, float], Found]] = {
    "topokit": _topokit,
    f"topokit to {NARROW:g}": lambda graph, objective, limit: _topokit(graph, objective, limit, NARROW),
    "cvxpy + CLARABEL": lambda graph, objective, limit: _with_cvxpy(graph, objective, "CLARABEL"),
    "cvxpy + SCS": lambda graph, objective, limit: _with_cvxpy(graph, objective, "SCS"),
    "mixingmatrix": _mixingmatrix,
    "best constant": _best_constant,
}
OWN = ("topokit", f"topokit to {NARROW:g}", "best constant")  # that need none of the peers
NEEDS = {  # packages to import before the clock starts
    **dict.fromkeys(OWN[:2], ("topokit.optimal",)),
    "cvxpy + CLARABEL": ("cvxpy", "clarabel"),
    "cvxpy + SCS": ("cvxpy", "scs"),
    "mixingmatrix": ("mixingmatrix",),
    "best constant": (),
}
STOPS_BY_ITSELF = (*OWN[:2], "mixingmatrix")


def build(name: str) -> nx.Graph:
    """Give "random-N" (4-regular, networkx's seed 1), "grid-S" (S x S) or "karate", without weights."""
    kind, _, size = name.partition("-")
    if kind == "random":
        made = nx.random_regular_graph(4, int(size), seed=1)
    elif kind == "grid":
        made = nx.convert_node_labels_to_integers(nx.grid_2d_graph(int(size), int(size)), ordering="sorted")
    else:
        made = nx.karate_club_graph()
    graph = nx.Graph()
    graph.add_nodes_from(range(made.number_of_nodes()))
    graph.add_edges_from(made.edges)
    return graph


def _memory() -> float:
    """Largest memory of this process so far in MB."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):  # not what a process that started this one held, as ru_maxrss is on Linux
                return int(line.split()[1]) / 1024
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / 1024 ** (2 if sys.platform == "darwin" else 1)


def _work(job: dict[str, Any]) -> None:
    """Do one job, and write down what came of it."""
    folder = Path(job["folder"])
    if job["memory"]:
        most = int(job["memory"] * 1e9)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        for package in NEEDS[job["method"]]:
            importlib.import_module(package)
        graph = build(job["graph"])
        (folder / "started").touch()
        start = time.perf_counter()
        W, remark, more = METHODS[job["method"]](graph, job["objective"], job["limit"])
        result: dict[str, Any] = {"seconds": time.perf_counter() - start, "memory": _memory(), "remark": remark}
        if W is None:
            result["remark"] = f"no weights ({remark})"
        else:
            sparse.save_npz(folder / "matrix.npz", sparse.csr_array(W))
        if "certificate" in more:
            result["certificate"] = more["certificate"].to_dict()
    except ModuleNotFoundError as error:
        result = {"remark": f"{error.name} is not installed"}
    except Exception as error:
        result = {"remark": f"{type(error).__name__}: {error}".split("\n")[0], "memory": _memory()}
    (folder / "result.json").write_text(json.dumps(result))


# What runs here


@dataclass(frozen=True)
class Row:
    """What one method made of one graph.

    Attributes
    ----------
    graph, objective, method : str
    nodes, edges : int
    seconds : float or None
        None if there is no result.
    ratio : float or None
        To the seconds of topokit.
    slem : float or None
    width : float or None
        By topokit's bound.
    broken : float or None
        Largest amount by which a rule is broken.
    rule : str
        Which one.
    memory : float or None
        MB.
    remark : str
    """

    graph: str
    objective: str
    method: str
    nodes: int
    edges: int
    seconds: float | None = None
    ratio: float | None = None
    slem: float | None = None
    width: float | None = None
    broken: float | None = None
    rule: str = ""
    memory: float | None = None
    remark: str = ""


def judge(graph: nx.Graph, objective: str, W: np.ndarray) -> tuple[float, float, str]:
    """Give the SLEM of a matrix, and which rule it breaks by how much."""
    nodes = graph.number_of_nodes()
    allowed = nx.to_numpy_array(graph, nodelist=range(nodes), weight=None) + np.eye(nodes) > 0
    rules = {
        "asymmetric": np.abs(W - W.T),
        "sums off 1": np.abs(W.sum(axis=1) - 1),
        "off the edges": np.abs(W[~allowed]),
    }
    if objective == "fmmc":
        rules["negative"] = -W
    broken = {rule: float(np.max(by, initial=0.0)) for rule, by in rules.items()}
    rule = max(broken, key=lambda name: broken[name])
    slem = float(np.abs(np.linalg.eigvalsh((W + W.T) / 2 - 1 / nodes)).max())
    return slem, broken[rule], rule if broken[rule] > BROKEN else ""


def _measure(graph: str, objective: str, method: str, python: str, limit: float, memory: float) -> dict[str, Any]:
    """Run a method in a process of its own, and end that at the limit."""
    with tempfile.TemporaryDirectory() as folder:
        job = {
            "graph": graph, "objective": objective, "method": method, "folder": folder, "limit": limit, "memory": memory
        }  # fmt: skip
        # Whoever prints does so into a file: the table is not for them.
        with open(Path(folder) / "printed", "w+b") as printed:
            process = subprocess.Popen(
                [python, str(Path(__file__).resolve()), "--job", json.dumps(job)],
                stdout=printed,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=os.environ | ({"PYTHONPATH": str(ROOT)} if method in OWN else {}),
            )
            try:
                late = _wait(process, Path(folder), limit + (GRACE + limit / 4 if method in STOPS_BY_ITSELF else 0))
            finally:
                process.kill()
                process.wait()
            written = Path(folder) / "result.json"
            if late or not written.exists():
                printed.seek(0)
                last = printed.read().decode(errors="replace").strip().rpartition("\n")[2]
                why = f"not within {limit:g} s" if late else f"died ({last or 'probably for lack of memory'})"
                return {"remark": why, "memory": late or None, "late": bool(late)}
        result: dict[str, Any] = json.loads(written.read_text())
        with suppress(FileNotFoundError):
            result["matrix"] = sparse.load_npz(Path(folder) / "matrix.npz").toarray()
        return result


def _wait(process: subprocess.Popen, folder: Path, limit: float) -> float:
    """Wait until a process has ended, and give 0; or until it has worked too long, and give its memory in MB."""
    deadline, started = time.perf_counter() + STARTING, False
    while process.poll() is None:
        if not started and (folder / "started").exists():
            deadline, started = time.perf_counter() + limit, True
        if time.perf_counter() > deadline and not (folder / "result.json").exists():
            return _memory_of(process.pid)
        time.sleep(0.02)
    return 0.0


def _memory_of(process: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return float("nan")


def bench(
    graphs: Sequence[str],
    objectives: Sequence[str] = OBJECTIVES,
    methods: Sequence[str] = tuple(METHODS),
    *,
    limit: float = TIME_LIMIT,
    python: str | None = None,
    memory: float = MEMORY,
) -> Iterator[Row]:
    """Measure all methods on all graphs.

    Parameters
    ----------
    graphs : sequence of str
        See `build`.
    objectives, methods : sequence of str
    limit : float
        Seconds of a method.
    python : str, optional
        Interpreter of the peers.
    memory : float
        GB of addresses that a process may have; 0 for as many as it likes.
    """
    from topokit.optimal import Certificate

    for name in graphs:
        graph = build(name)
        size = graph.number_of_nodes(), graph.number_of_edges()
        for objective in objectives:
            seconds, certificates = None, []
            for method in sorted(methods, key=tuple(METHODS).index):
                own = method in OWN or python is None
                found = _measure(name, objective, method, sys.executable if own else python, limit, memory)
                values = {key: found.get(key) for key in ("seconds", "memory", "remark")}
                if "certificate" in found:
                    seconds = seconds or found["seconds"]
                    certificates.append(Certificate.from_dict(size[0], found["certificate"]))
                if seconds:
                    values["ratio"] = (limit if found.get("late") else found.get("seconds") or np.nan) / seconds
                if "matrix" in found:
                    slem, broken, rule = judge(graph, objective, found["matrix"])
                    values |= {"slem": slem, "broken": broken, "rule": rule}
                    if certificates and slem < 1:
                        bound = max(certificate.bound(slem) for certificate in certificates)
                        values["width"] = (slem - bound) / (1 - slem)
                yield Row(name, objective, method, *size, **values)


def _short(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


HEAD = ("graph", "weights", "method", "seconds", "ratio", "SLEM", "width", "breaks", "peak MB", "remark")


def table(rows: Iterator[Row]) -> Iterator[str]:
    """Give the lines of a Markdown table, as the rows come."""
    yield f"| {' | '.join(HEAD)} |"
    yield f"|{' --- |' * len(HEAD)}"
    for row in rows:
        late = row.seconds is None
        cells = (
            f"{row.graph}, {row.edges} edges",
            row.objective.upper(),
            row.method,
            "" if late else f"{row.seconds:.2f}",
            "" if row.ratio is None or np.isnan(row.ratio) else f"{'> ' if late else ''}{_short(row.ratio)}",
            "" if row.slem is None else f"{row.slem:.8f}",
            "" if row.width is None else f"{row.width:.1e}",
            "" if not row.rule else f"{row.rule} {row.broken:.0e}",
            "" if row.memory is None or np.isnan(row.memory) else f"{row.memory:.0f}",
            row.remark.replace("|", "/"),
        )
        yield f"| {' | '.join(cells)} |"


def peers_python(folder: Path = ROOT / ".venv-peers") -> str:
    """Give the Python of an environment with the peers, made if it is not there."""
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        print(f"installing {', '.join(PEERS)} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEERS], check=True, stdout=sys.stderr)
        ready.touch()
    return str(python)


def _versions(python: str) -> str:
    code = (
        "import importlib.metadata as m, json\n"
        f"print(json.dumps({{d.name.lower(): d.version for d in m.distributions() if d.name.lower() in {PEERS}}}))"
    )
    found = json.loads(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout)
    return ", ".join(f"{name} {found.get(name, 'missing')}" for name in PEERS)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="*", default=[64, 256, 1024], help="of random 4-regular graphs")
    parser.add_argument("--grids", type=int, nargs="*", default=[32], help="sides of square grids")
    parser.add_argument("--no-karate", action="store_true", help="leave the karate club out")
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=OBJECTIVES)
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=tuple(METHODS))
    parser.add_argument("--time-limit", type=float, default=TIME_LIMIT, metavar="SECONDS")
    parser.add_argument("--memory", type=float, default=MEMORY, help="of a process, 0: no limit", metavar="GB")
    parser.add_argument("--peers", default=None, help="a Python that has the peers", metavar="PYTHON")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        _work(json.loads(options.job))
        return
    graphs = [*([] if options.no_karate else ["karate"])]
    graphs += [f"random-{nodes}" for nodes in options.nodes] + [f"grid-{side}" for side in options.grids]
    python = options.peers or (peers_python() if set(options.methods) - set(OWN) else None)
    rows = bench(
        graphs, options.objectives, options.methods, limit=options.time_limit, python=python, memory=options.memory
    )
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    threads = os.environ.get("OMP_NUM_THREADS", "as many as there are")
    print(f"{os.cpu_count()} cores, threads: {threads}; limit {options.time_limit:g} s; topokit to width {WIDTH:g}")
    if python:
        print(f"peers: {_versions(python)}")
    print()
    for line in table(rows):
        print(line, flush=True)


if __name__ == "__main__":
    main()
