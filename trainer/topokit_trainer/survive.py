"""`topokit train --survive`: a run whose ranks may die, be stopped and come back, as plain processes of this machine.

The launcher decides little: it reports a death, starts the rank again where the run can take it back, and knows from
the ranks themselves, by their exit status and the run's summary, whether the run got to its end. Who lives is the
ranks' own affair. Only one that a signal has stopped for good is killed here, and only in synchronous runs: its
connections stay open, so the others would wait for it; an asynchronous run gets along without it until it comes back.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from topokit.errors import InputError, TopokitError
from topokit.files import write_text
from topokit.schedule import Schedule
from topokit_trainer.config import TrainConfig, arguments_from_config
from topokit_trainer.rank_processes import REFUSED, TICK, Death, RankProcesses, signals_interrupt

__all__ = ["LaunchEvent", "Launcher", "Survival", "start_survivors", "survival_of"]

DONE, INTERRUPTED = 0, 130
RESTARTS = 3  # of each rank of an asynchronous run
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before a rank is started again: twice as long after a short life
SHORT_LIFE = 60.0  # seconds
MARGIN = 1.0  # seconds beyond --lost-after that a stopped rank has to come back


@dataclass(frozen=True)
class LaunchEvent:
    """What the launcher saw or did: one line of ``launcher.jsonl``.

    Attributes
    ----------
    time : float
        Seconds since 1970.
    kind : str
        started, restarted, lost, hung (and therefore killed), finished, refused or interrupted.
    rank : int or None
    pid : int or None
        Of a rank that is started.
    signal : str or None
        What killed it.
    status : int or None
        What it ended with, where it ended by itself.
    """

    time: float
    kind: str
    rank: int | None = None
    pid: int | None = None
    signal: str | None = None
    status: int | None = None


@dataclass(frozen=True)
class Survival:
    """What becomes of ranks in trouble.

    Attributes
    ----------
    restarts : int
        How often each is started again.
    kill_stopped_after : float or None
        Seconds after which one that a signal has stopped is killed; None leaves it alone.
    patience : float
        Seconds that ranks have to end once one of them has finished the run.
    """

    restarts: int = 0
    kill_stopped_after: float | None = None
    patience: float = 60.0


def survival_of(algorithm: str, config: TrainConfig, processes: int, restarts: int | None = None) -> Survival:
    """Say what becomes of ranks in trouble in a run of this algorithm.

    Raises
    ------
    InputError
        If the run cannot go on without a rank.

    Examples
    --------
    >>> survival_of("async-gossip", TrainConfig(), processes=4).restarts
    3
    >>> survival_of("dsgd", TrainConfig(on_failure="reweight", lost_after=2), processes=4)
    Survival(restarts=0, kill_stopped_after=3.0, patience=60.0)
    >>> survival_of("dsgd", TrainConfig(), processes=4)
    Traceback (most recent call last):
    ...
    topokit.errors.InputError: --survive is for runs that go on without a rank: async-gossip and ad-psgd with a real \
clock, or dsgd with --on-failure reweight; this one is dsgd with --on-failure stop
    """
    if processes == 1:
        raise InputError("--survive needs several ranks, of which some may be lost: give --processes, at least 2")
    if restarts is not None and restarts < 0:
        raise InputError(f"--restarts must be at least 0, got {restarts}")
    if algorithm in ("async-gossip", "ad-psgd") and config.clock != "simulated":
        return Survival(RESTARTS if restarts is None else restarts, None, config.timeout)
    if algorithm == "dsgd" and config.on_failure == "reweight":
        if restarts:
            raise InputError("--restarts is for asynchronous runs: a synchronous one goes on without the ranks it lost")
        return Survival(0, config.lost_after + MARGIN, config.timeout)
    way = f" with --on-failure {config.on_failure}" if algorithm == "dsgd" else ""
    way = " with a simulated clock" if algorithm in ("async-gossip", "ad-psgd") else way
    raise InputError(
        "--survive is for runs that go on without a rank: async-gossip and ad-psgd with a real clock, or dsgd with "
        f"--on-failure reweight; this one is {algorithm}{way}"
    )


def start_survivors(
    schedule_path: str,
    config: TrainConfig,
    processes: int,
    report: Callable[[str], None],
    *,
    restarts: int | None = None,
    quiet: bool = False,
) -> int:
    """Start ranks on this machine, each a failure domain of its own, and see them through; give the exit status.

    Parameters
    ----------
    schedule_path : str
    config : TrainConfig
        With a folder of the run.
    processes : int
    report : callable
        Gets a line for every rank that is lost.
    restarts : int, optional
        How often a rank is started again; default: 3 times in asynchronous runs, never in synchronous ones.
    quiet : bool
        Whether ranks report errors only.

    Raises
    ------
    InputError
        Before anything is started if the run cannot survive a rank; later if the ranks refuse to run.
    TopokitError
        If no rank came to the end of the run.
    """
    from topokit_trainer.algorithms import algorithm_for
    from topokit_trainer.world import World

    if config.search_active:
        raise InputError("--survive is for single runs, and --search-active is several")
    if config.out is None:
        raise InputError("a run that survives its ranks needs a folder in which they meet: give --out")
    schedule = Schedule.load(schedule_path)
    algorithm = algorithm_for(schedule) if config.algorithm == "auto" else config.algorithm
    survival = survival_of(algorithm, config, processes, restarts)
    World(size=processes).nodes_of(0, schedule.nodes)
    options = [*arguments_from_config(config), *(["--quiet"] if quiet else [])]
    command = [sys.executable, "-m", "topokit_trainer", schedule_path, *options]
    return Launcher(command, processes, survival, config.out, report, fresh=config.overwrite).run()


class Launcher:
    """Sees the ranks of a run through: starts them, starts lost ones again, knows when the run is over.

    Parameters
    ----------
    command : sequence of str
        What every rank runs.
    processes : int
    survival : Survival
    folder : Path
        Of the run; gets ``launcher.jsonl``.
    report : callable
    fresh : bool
        Whether ``launcher.jsonl`` begins anew.
    """

    def __init__(
        self,
        command: Sequence[str],
        processes: int,
        survival: Survival,
        folder: Path,
        report: Callable[[str], None],
        *,
        fresh: bool = False,
    ) -> None:
        self.command, self.processes, self.survival = command, processes, survival
        self.folder, self.report = folder, report
        self.events: list[LaunchEvent] = []
        self._starts = dict.fromkeys(range(processes), 0)
        self._born = dict.fromkeys(range(processes), 0.0)
        self._pauses = dict.fromkeys(range(processes), 0.0)
        self._due: dict[int, float] = {}  # when a lost rank is started again
        self._stopped: dict[int, float] = {}  # since when a rank has been found stopped
        self._finished: float | None = None  # when the first rank came to the end of the run
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out {folder} cannot be made a folder: {error.strerror}") from error
        if fresh:
            (folder / "launcher.jsonl").unlink(missing_ok=True)

    def run(self) -> int:
        """Start the ranks and wait for the end of the run; give the exit status.

        Raises
        ------
        InputError
            What the ranks found wrong with the run, before it began.
        TopokitError
            If no rank came to the end of the run.
        """
        with RankProcesses(self.command, self.processes) as ranks:
            try:
                with signals_interrupt():
                    for rank in range(self.processes):
                        self._start(ranks, rank)
                    while ranks.running or self._due:
                        self._look(ranks)
                        time.sleep(TICK)
            except KeyboardInterrupt:
                self._note("interrupted")
                ranks.end(signal.SIGINT, signal.SIGTERM)
                return INTERRUPTED
        if self._finished is None or not self._summary().get("finished"):
            raise TopokitError("no rank is left, and the run is not finished")
        self._note("finished")
        self._complete_summary()
        return DONE

    def _look(self, ranks: RankProcesses) -> None:
        now = time.monotonic()
        for death in ranks.deaths():
            self._stopped.pop(death.rank, None)
            if death.status == DONE:
                self._finished = self._finished or now
            elif death.status == REFUSED and not self._restarted:
                self._refuse(ranks)
            else:
                self._lost(death, now)
        for rank, due in list(self._due.items()):
            if self._finished is not None:
                del self._due[rank]
            elif now >= due:
                del self._due[rank]
                self._start(ranks, rank)
        stopped = ranks.stopped()
        self._stopped = {rank: self._stopped.get(rank, now) for rank in stopped}
        if self._finished is not None:
            # What is stopped now would miss the end for ever; the others have something to finish.
            ranks.kill(*stopped)
            if now > self._finished + self.survival.patience:
                ranks.end(signal.SIGTERM)
        elif self.survival.kill_stopped_after is not None:
            for rank, since in self._stopped.items():
                if now > since + self.survival.kill_stopped_after:
                    self._note("hung", rank)
                    self.report(f"rank {rank} has been stopped for {now - since:.0f} s and is killed")
                    ranks.kill(rank)

    @property
    def _restarted(self) -> bool:
        return any(starts > 1 for starts in self._starts.values())

    def _start(self, ranks: RankProcesses, rank: int) -> None:
        self._starts[rank] += 1
        self._born[rank] = time.monotonic()
        pid = ranks.start(rank)
        self._note("started" if self._starts[rank] == 1 else "restarted", rank, pid=pid)

    def _lost(self, death: Death, now: float) -> None:
        status = None if death.killed else death.status
        self._note("lost", death.rank, signal=death.signal_name, status=status)
        if self._finished is not None:
            self.report(f"{death} when the run was over")
        elif self._starts[death.rank] <= self.survival.restarts:
            short = now - self._born[death.rank] < SHORT_LIFE
            pause = min(2 * self._pauses[death.rank], LONGEST_PAUSE) if short else 0.0
            self._pauses[death.rank] = pause = max(pause, FIRST_PAUSE)
            self._due[death.rank] = now + pause
            times = f"{self._starts[death.rank]} of {self.survival.restarts}"
            self.report(f"{death}; it is started again in {pause:.0f} s ({times})")
        else:
            used = f" and has used all its restarts ({self.survival.restarts})" if self.survival.restarts else ""
            self.report(f"{death}{used}; the others go on without it")

    def _refuse(self, ranks: RankProcesses) -> None:
        self._note("refused")
        ranks.end(signal.SIGTERM)
        raise InputError(ranks.refusal() or "the ranks refuse to run")

    def _note(self, kind: str, rank: int | None = None, **details: Any) -> None:
        event = LaunchEvent(time.time(), kind, rank, **details)
        self.events.append(event)
        with (self.folder / "launcher.jsonl").open("a") as file:
            file.write(json.dumps(_said(event)) + "\n")

    def _summary(self) -> dict[str, Any]:
        try:
            summary: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        except (OSError, ValueError):
            return {}
        return summary

    def _complete_summary(self) -> None:
        """Add to the run's report what became of its processes."""
        told = [_said(event) for event in self.events if event.kind in ("lost", "restarted", "hung")]
        if told:
            summary = self._summary() | {"launcher": told}
            write_text(self.folder / "summary.json", json.dumps(summary, indent=1, sort_keys=True) + "\n")


def _said(event: LaunchEvent) -> dict[str, Any]:
    return {name: value for name, value in asdict(event).items() if value is not None}
