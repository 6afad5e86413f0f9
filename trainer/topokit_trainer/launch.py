"""Starting a run: `python -m topokit_trainer` under torchrun, or several ranks of this machine from one command.

Worker code lives here and not in ``__main__``: spawned processes cannot import a package's ``__main__``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from topokit.errors import InputError, TopokitError
from topokit.schedule import Schedule
from topokit_trainer.config import TrainConfig, add_arguments, arguments_from_config, config_from_arguments
from topokit_trainer.rank_processes import (
    LAUNCHER,
    REFUSED,
    TICK,
    Death,
    RankProcesses,
    end_with,
    first_to_say,
    leave_refusal,
    signals_interrupt,
)

__all__ = ["main", "run_schedule", "start_ranks"]

FAILED = 1
INTERRUPTED = 130
SILENCE = 2.0  # seconds in which the launcher of ranks that end together has seen it and ended the others


def run_schedule(schedule_path: str, config: TrainConfig, report: Callable[[str], None]) -> list[dict[str, object]]:
    """Train along a schedule file in this process, as the rank that the environment names; give the evaluations."""
    from topokit_trainer.assembly import Given
    from topokit_trainer.asynchronous.clock import on_real_clock
    from topokit_trainer.loop import Trainer
    from topokit_trainer.plots import plot_run
    from topokit_trainer.world import open_world

    early: Schedule | None = None
    with suppress(TopokitError):  # which is said below, by all ranks as one
        early = Schedule.load(schedule_path)
    if early is not None and on_real_clock(early, config):
        from topokit_trainer.asynchronous.worker import train_asynchronously

        with open_world(config, grouped=False) as world:
            given, plot = Given(), partial(plot_run, report=report)
            return train_asynchronously(early, config, world, given, report, plot).metrics
    with open_world(config) as world:
        with world.agreed():
            schedule = early or Schedule.load(schedule_path)
        if config.search_active:
            from topokit_trainer.search import search_active

            metrics = search_active(schedule, config, world, report).metrics
            folders = [config.out / name for name in ("together", "everyone")] if config.out else []
            folders = [folder for folder in folders if (folder / "summary.json").exists()]
        else:
            trainer = Trainer(schedule, config, world, report=report)
            metrics = trainer.run().metrics
            world = trainer.world  # others may be lost, and another rank be the first
            folders = [config.out] if config.out else []
        if world.rank == 0:
            for folder in folders:
                plot_run(folder, report)
        if config.on_failure == "stop":  # otherwise a rank that is lost now is no one's loss
            world.barrier()
    return metrics


def start_ranks(schedule_path: str, config: TrainConfig, processes: int, *, quiet: bool = False) -> int:
    """Start ranks on this machine and wait for them; the first that fails ends all. Give the exit status.

    Raises
    ------
    InputError
        If the nodes of the schedule cannot be shared evenly, or the run is to go on without ranks that are lost, before
        anything is started; what the ranks find wrong.
    TopokitError
        If a rank is lost: which, and what it died of.
    """
    from topokit_trainer.asynchronous.clock import on_real_clock
    from topokit_trainer.asynchronous.start import check
    from topokit_trainer.world import World

    schedule = Schedule.load(schedule_path)
    if on_real_clock(schedule, config, processes):
        check(schedule, config, World(size=processes))
    World(size=processes).nodes_of(0, schedule.nodes)
    if config.on_failure == "reweight":
        raise InputError(
            "--on-failure reweight needs --survive, too: otherwise the death of a rank ends all that were started "
            "with it"
        )
    options = [*arguments_from_config(config), *(["--quiet"] if quiet else [])]
    with RankProcesses([sys.executable, "-m", "topokit_trainer", schedule_path, *options], processes) as ranks:
        try:
            with signals_interrupt():
                for rank in range(processes):
                    ranks.start(rank)
                while ranks.running:
                    failed = [death for death in ranks.deaths() if death.status]
                    if failed:
                        stopped = ranks.stopped()
                        ranks.end(signal.SIGTERM)
                        return _failure(failed[0], config, ranks.refusal(), stopped)
                    time.sleep(TICK)
        except KeyboardInterrupt:
            ranks.end(signal.SIGINT, signal.SIGTERM)
            return INTERRUPTED
    return 0


def _failure(death: Death, config: TrainConfig, refusal: str | None, stopped: frozenset[int]) -> int:
    """Give the exit status where the rank has said why itself; raise an error where it could not, or left word."""
    if death.status == REFUSED and refusal:
        raise InputError(refusal)
    if death.status in (FAILED, INTERRUPTED) and not stopped:
        return death.status
    if config.out is not None and config.checkpoint_every:
        again = "the same command" + (" without --overwrite" if config.overwrite else "")
        advice = f"give {again} again to go on from the last checkpoint"
    else:
        advice = "nothing was saved; with --out and --checkpoint-every it could go on from a checkpoint"
    hint = " (as the system does when memory runs out)" if death.signal_name == "SIGKILL" else ""
    lost = f"rank {min(stopped)} was stopped by a signal" if stopped and not death.killed else f"{death}{hint}"
    raise TopokitError(f"{lost}, which ended the run; {advice}")


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

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    if LAUNCHER in os.environ:
        end_with(int(os.environ[LAUNCHER]))
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        end_with(os.getppid())
    try:
        try:
            config = config_from_arguments(parsed)
            run_schedule(parsed.schedule, config, (lambda line: None) if parsed.quiet else report)
        except (TopokitError, RuntimeError) as error:
            return _explain(error, report)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _explain(error: TopokitError | RuntimeError, report: Callable[[str], None]) -> int:
    """Say why this rank fails, if it is for this rank to say; give the exit status."""
    rank, launched = int(os.environ.get("RANK", "0")), LAUNCHER in os.environ
    if isinstance(error, InputError):
        if launched and leave_refusal(str(error)):
            return REFUSED
        if rank:
            time.sleep(SILENCE)  # the launcher ends all ranks at the first that ends: let rank 0 speak
            return FAILED
    else:
        lost_contact = not isinstance(error, TopokitError)
        if lost_contact and not _lost_contact(error):
            raise error
        _let_others_speak(rank)  # perhaps another one is to blame
        if lost_contact:
            reason = str(error).splitlines()[0]
            error = TopokitError(f"a rank is lost, or others waited for it longer than --timeout ({reason})")
    if not launched or first_to_say(str(error)):
        report(f"error: {error}")
    return FAILED


def _let_others_speak(rank: int) -> None:
    """Wait: where another rank has died, the launcher names it and ends this one meanwhile; else the first one speaks.

    Outside a launcher that ends all ranks together every rank will speak.
    """
    if "RANK" in os.environ:
        time.sleep(SILENCE / 2 + 0.25 * min(rank, 20))


def _lost_contact(error: Exception) -> bool:
    """Whether an error is what a rank sees of the death, or the silence, of another one."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or "gloo" in str(error)
