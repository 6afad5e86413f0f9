"""D-SGD over schedules for uneven hosts, with equal predicted seconds of communication: what negative weights cost.

Digits sorted by class on 32 virtual nodes, one round after every gradient step, on the network of bench_hosts.py::

    python tests/benchmarks/bench_hosts_training.py
    python tests/benchmarks/bench_hosts_training.py --seconds 10 --seeds 1 --only designed ring
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from bench_hosts import Case, Inside, links_of, schedules_for

from topokit.network import round_seconds
from topokit_trainer import train
from topokit_trainer.config import TrainConfig

NAMES = ("ring", "one-peer-exponential", "base-2", "inner-outer-exponential")
RATES = (0.02, 0.03, 0.05, 0.1, 0.3, 0.6)  # of learning
MESSAGE = 1_000_000
INSIDE = Inside(5e8, 5e-3)  # bytes a second of a host, and latency, about as bench_hosts.py times them


def main() -> None:
    """Print the accuracy of the mean model for every learning rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="of communication, as predicted")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="names of schedules")
    options = parser.parse_args()
    network = links_of(Case(), INSIDE)
    print("| schedule | steps | learning rate | accuracy of the mean model |\n| --- | --- | --- | --- |")
    for name, schedule in schedules_for(network, MESSAGE, list(NAMES)).items():
        if options.only and name not in options.only:
            continue
        steps = max(1, round(options.seconds / round_seconds(schedule, network, MESSAGE).seconds))
        for rate in RATES:
            common = {"partition": "sorted", "batch_size": 16, "steps": steps, "eval_every": steps, "threads": 1}
            found = [
                train(schedule, TrainConfig(algorithm="dsgd", device="cpu", lr=rate, seed=seed, **common))
                for seed in range(options.seeds)
            ]
            accuracy = [run.final["accuracy"] for run in found]
            spread = f"{statistics.mean(accuracy):.2f} ({min(accuracy):.2f} to {max(accuracy):.2f})"
            print(f"| {name} | {steps} | {rate} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
