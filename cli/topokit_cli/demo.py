"""The demonstration of `make demo`: design, analyse, train on non-i.i.d. digits, compare.

Eight nodes with very unlike data learn to read digits over a one-peer exponential graph and over a ring, against exact
all-reduce: first all in one process, then as 4 processes with 2 nodes each. Every step is a command that anyone can
type; it is printed before it runs.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from topokit_cli.main import main
from topokit_cli.output import out

__all__ = ["run_demo"]

NODES = 8
TRAINING = (
    "--partition dirichlet --alpha 0.1 --momentum 0.9 --lr 0.05 --batch-size 16 --steps 300 --eval-every 20 --overwrite"
)


def run_demo(folder: Path) -> int:
    """Run the demonstration into a folder; give the exit status of the first command that fails, else 0."""
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    commands = [
        *(
            f"design --nodes {NODES} --topology {topology} -o {folder}/{topology}.json"
            for topology in ("one-peer-exponential", "ring")
        ),
        f"analyze {folder}/one-peer-exponential.json --require exact --plot {folder}/spectrum.png",
        f"compare ring exponential one-peer-exponential complete --nodes {NODES} --plot {folder}/consensus.png",
    ]
    for mode, processes in (("virtual", 1), ("distributed", 4)):
        for run, topology, algorithm in (
            ("one-peer", "one-peer-exponential", "dsgd"),
            ("ring", "ring", "dsgd"),
            ("all-reduce", "ring", "allreduce"),
        ):
            commands.append(
                f"--quiet train {folder}/{topology}.json --algorithm {algorithm} --processes {processes} "
                f"{TRAINING} --out {folder}/{mode}/{run}"
            )
        runs = " ".join(f"{folder}/{mode}/{run}" for run in ("one-peer", "ring", "all-reduce"))
        commands.append(f"compare-runs {runs} --plot {folder}/{mode}.png")
    for command in commands:
        out.text(f"\n$ topokit {command}")
        sys.stdout.flush()
        status = main(shlex.split(command))
        if status:
            return status
    out.text(f"\nResults and pictures are in {folder}/, made in {time.perf_counter() - started:.0f} s.")
    return 0


def demo(arguments: Sequence[str]) -> int:
    """Run the demonstration into the folder named on the command line."""
    return run_demo(Path(arguments[0] if arguments else "demo"))


if __name__ == "__main__":
    raise SystemExit(demo(sys.argv[1:]))
