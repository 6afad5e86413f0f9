"""One of 8 ranks ten times slower, asleep or computing: what it costs the others, with asynchronous gossip and D-SGD.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_stragglers.py [--steps 100] [--turns 3] [--json]

Real processes on this machine, one node each, a ring, a small convolutional network on the digits. Figures are the
gradients per second of the seven others over those of a run without a straggler. Runs with and without one take turns,
the ratio is taken within a turn, and its median over the turns is shown: machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import mean, median

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from async_workers import snapshots, train_here
from mortal_ranks import mortal_ranks

from topokit.designer import design
from topokit_trainer import TrainConfig
from topokit_trainer.telemetry import read_metrics

RANKS, SLOW, SPEED = 8, 3, 0.1
LIMIT = 0.9  # of their pace that the others keep
ALGORITHMS = {
    "asynchronous gossip": ("pairwise", {"algorithm": "async-gossip"}),
    "A2CiD2": ("pairwise", {"algorithm": "async-gossip", "acid": True}),
    "AD-PSGD": ("pairwise", {"algorithm": "ad-psgd"}),
    "D-SGD, in rounds": ("ring", {"algorithm": "dsgd"}),
}


def rate_of_others(algorithm: str, by: str, slowed: bool, steps: int) -> float:
    """Gradients per second of the ranks that are not the slow one, in the mean."""
    topology, options = ALGORITHMS[algorithm]
    in_rounds = topology == "ring"
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            model="cnn",
            device="cpu",
            gradients="loop",
            steps=steps,
            eval_every=steps,
            checkpoint_every=0,
            speeds=f"1,{SLOW}:{SPEED}" if slowed else "1",
            slow_by=by,
            out=Path(folder, "run"),
            **options,
        )
        with mortal_ranks(train_here, RANKS, design(topology, RANKS), config, timeout=300) as ranks:
            for result in ranks.results(*range(RANKS)):
                assert result["error"] is None, result["error"]
        if in_rounds:  # all keep step
            return steps / read_metrics(config.out)[-1]["seconds"]
        found = snapshots(config.out, steps)
        return mean(found[rank]["count"] / found[rank]["seconds"] for rank in range(RANKS) if rank != SLOW)


def measure(algorithm: str, by: str, steps: int, turns: int) -> dict[str, object]:
    """The pace of the others beside a slow rank, over their pace without."""
    pairs = [[rate_of_others(algorithm, by, slowed, steps) for slowed in (False, True)] for _ in range(turns)]
    ratios = [slowed / even for even, slowed in pairs]
    return {
        "algorithm": algorithm,
        "by": by,
        "without": median(even for even, _ in pairs),
        "beside": median(slowed for _, slowed in pairs),
        "ratio": median(ratios),
        "ratios": ratios,
    }


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = [measure(name, by, given.steps, given.turns) for name in ALGORITHMS for by in ("sleep", "burn")]
    if given.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{RANKS} processes, rank {SLOW} at {SPEED} of its speed; gradients per second of each of the others")
    print("algorithm             slow by   without   beside   ratio")
    for row in rows:
        print(f"{row['algorithm']:20}  {row['by']:7}  {row['without']:8.1f} {row['beside']:8.1f}  {row['ratio']:6.2f}")


if __name__ == "__main__":
    main()
