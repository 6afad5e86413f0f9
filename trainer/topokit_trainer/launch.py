"""Starting a run: `python -m topokit_trainer` under torchrun, or several ranks of this machine from one command.

Worker code lives here and not in ``__main__``: spawned processes cannot import a package's ``__main__``.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from threading import Thread
from uuid import uuid4

from topokit.errors import TopokitError
from topokit.schedule import Schedule
from topokit_trainer.config import TrainConfig, add_arguments, arguments_from_config, config_from_arguments

__all__ = ["main", "run_schedule", "start_ranks"]

FAILED = 1
INTERRUPTED = 130


def run_schedule(schedule_path: str, config: TrainConfig, report: Callable[[str], None]) -> list[dict[str, object]]:
    """Train along a schedule file in this process, as the rank that the environment names; give the evaluations."""
    from topokit_trainer.loop import Trainer
    from topokit_trainer.plots import plot_run
    from topokit_trainer.search import search_active
    from topokit_trainer.world import open_world

    with open_world(config) as world:
        with world.agreed():
            schedule = Schedule.load(schedule_path)
        if config.search_active:
            metrics = search_active(schedule, config, world, report).metrics
            folders = [config.out / name for name in ("together", "everyone")] if config.out else []
            folders = [folder for folder in folders if (folder / "summary.json").exists()]
        else:
            metrics = Trainer(schedule, config, world, report=report).run().metrics
            folders = [config.out] if config.out else []
        if world.rank == 0:
            for folder in folders:
                plot_run(folder, report)
        world.barrier()
    return metrics


def start_ranks(schedule_path: str, config: TrainConfig, processes: int, *, quiet: bool = False) -> int:
    """Start ranks on this machine through torch.distributed.run and wait for them; give the exit status.

    Raises
    ------
    InputError
        If the nodes of the schedule cannot be shared evenly, before anything is started.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from topokit_trainer.world import World

    # PyTorch warns of every wait in the store that ends without word, and ranks without work wait long.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    nodes = Schedule.load(schedule_path).nodes
    World(size=processes).nodes_of(0, nodes)
    # Ranks share the cores of this machine; without this each would start a thread for every core.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    # The rank that failed has said why; the launcher's own report of it would bury that.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        options = [*arguments_from_config(config), *(["--quiet"] if quiet else [])]
        elastic_launch(settings, sys.executable)("-m", "topokit_trainer", schedule_path, *options)
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
        return INTERRUPTED if INTERRUPTED in codes else FAILED
    except (KeyboardInterrupt, SignalException):
        return INTERRUPTED
    return 0


def _end_with_launcher(launcher: int, every: float = 0.2) -> None:
    """End this rank when its launcher is gone: orphans would go on writing where a new start of the run writes too."""
    while os.getppid() == launcher:
        time.sleep(every)
    os._exit(FAILED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one rank; the options are those of `topokit train`."""
    parser = argparse.ArgumentParser(
        prog="python -m topokit_trainer",
        description="Train along a mixing schedule; start it with torchrun for several ranks.",
        epilog="example: torchrun --standalone --nproc-per-node 4 -m topokit_trainer schedule.json --out run",
    )
    parser.add_argument("schedule", help="mixing schedule file")
    parser.add_argument("--quiet", action="store_true", help="report errors only")
    add_arguments(parser)
    parsed = parser.parse_args(arguments)
    rank = int(os.environ.get("RANK", "0"))

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    if "TORCHELASTIC_RUN_ID" in os.environ:
        Thread(target=_end_with_launcher, args=(os.getppid(),), daemon=True).start()
    try:
        run_schedule(parsed.schedule, config_from_arguments(parsed), (lambda line: None) if parsed.quiet else report)
    except TopokitError as error:
        if rank == 0:
            report(f"error: {error}")
        else:
            time.sleep(2)  # the launcher stops all ranks at the first that ends: let rank 0 speak
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
