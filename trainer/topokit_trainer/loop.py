"""The training loop: set up, go on from a checkpoint, step, evaluate, save.

Reading order: `Trainer.run` is the whole story; `Trainer._set_up` shows how the parts meet.
"""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional

from topokit.errors import InputError
from topokit.files import replacing, write_text
from topokit.schedule import Schedule
from topokit.spectral import beta
from topokit.survivors import Survivors
from topokit_trainer.algorithms import algorithm_for, make_algorithm
from topokit_trainer.assembly import Given, assemble, perturb
from topokit_trainer.asynchronous.clock import on_real_clock
from topokit_trainer.checkpoint import Checkpoints, Progress
from topokit_trainer.config import TrainConfig
from topokit_trainer.contraction import expected_contraction
from topokit_trainer.data import Data
from topokit_trainer.evaluation import averaged_state
from topokit_trainer.models import ModelFactory
from topokit_trainer.optimizers import (
    OptimizerFactory,
    SchedulerFactory,
)
from topokit_trainer.pace import synchronous_pace
from topokit_trainer.recovery import Recovery, require_recoverable
from topokit_trainer.stacks import LossFunction
from topokit_trainer.telemetry import Metrics, Reporter, RunFolder, describe
from topokit_trainer.world import World, open_world

__all__ = ["RunResult", "Trainer", "train"]

Result = TypeVar("Result")

SIMULATING = ("async-gossip", "ad-psgd")


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes
    ----------
    metrics : list of dict
        The evaluations, oldest first (rank 0; empty on other ranks). A figure is None where there is none, or where it
        is not finite.
    model : Module
        The averaged model.
    seconds : float
        Time spent training, over all starts.
    engine : str
        The gradient engine, and why it was chosen.
    """

    metrics: list[Metrics]
    model: nn.Module
    seconds: float
    engine: str

    @property
    def final(self) -> Metrics:
        """The last evaluation."""
        return self.metrics[-1]


def train(schedule: Schedule | str | Path, config: TrainConfig | None = None, **parts: Any) -> RunResult:
    """Train along a schedule; under a launcher every rank calls this with the same arguments.

    Parameters
    ----------
    schedule : Schedule, or path of a schedule file
    config : TrainConfig, optional
    **parts
        ``data``, ``model``, ``optimizer``, ``scheduler``, ``loss``, ``report``: as `Trainer`.

    Examples
    --------
    >>> from topokit.designer import design
    >>> result = train(design("ring", 4), TrainConfig(steps=40, batch_size=16, checkpoint_every=0))
    >>> result.final["accuracy"] > 0.5
    True
    """
    config = config or TrainConfig()
    if isinstance(schedule, str | Path):
        schedule = Schedule.load(schedule)
    if on_real_clock(schedule, config):
        from topokit_trainer.asynchronous.worker import train_asynchronously  # which gives its results as a RunResult

        report = parts.pop("report", None)
        with open_world(config, grouped=False) as world:
            return train_asynchronously(schedule, config, world, Given(**parts), report)
    with open_world(config) as world:
        return Trainer(schedule, config, world, **parts).run()


class Trainer:
    """One training run on this rank.

    Parameters
    ----------
    schedule : Schedule
    config : TrainConfig
    world : World, optional
    data : Data or pair of datasets, or callable that gives one, optional
        Training and test set, instead of the configuration's.
    model : callable, optional
        Makes a fresh model, instead of the configuration's.
    optimizer : callable, optional
        Makes a torch optimizer for a model, as in a script for one model.
    scheduler : callable, optional
        Makes a torch learning-rate scheduler for an optimizer; it steps after every optimizer step.
    loss : callable, optional
        ``loss(outputs, targets)``, a mean over the batch. Default: cross entropy.
    report : callable, optional
        Gets lines for people, on rank 0.

    Raises
    ------
    InputError
        Before any training, on all ranks alike, when something does not fit together.
    """

    def __init__(
        self,
        schedule: Schedule,
        config: TrainConfig,
        world: World | None = None,
        *,
        data: Data | tuple[Any, Any] | Callable[[], Any] | None = None,
        model: ModelFactory | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        loss: LossFunction = functional.cross_entropy,
        report: Reporter | None = None,
    ) -> None:
        if config.search_active:
            raise InputError("a search is several runs: use topokit_trainer.search.search_active, or topokit train")
        if config.algorithm == "auto":
            config = replace(config, algorithm=algorithm_for(schedule))
        self.schedule, self.config, self.world = schedule, config, world or World()
        self._say: Reporter = report or (lambda line: None)
        self.report: Reporter = self._say if self.world.rank == 0 else lambda line: None
        self.recovery: Recovery | None = None
        self.lost: list[dict[str, Any]] = []
        self.interrupted = False
        self.progress = Progress()
        self.folder = RunFolder(config.out if self.world.rank == 0 else None)
        with self.world.agreed():
            if config.on_failure == "reweight":
                require_recoverable(config, self.world)
            self._set_up(Given(data, model, optimizer, scheduler, loss))
        with self.world.agreed():
            self._agree()

    def _set_up(self, given: Given) -> None:
        config, world, schedule = self.config, self.world, self.schedule
        # Nothing here may wait for another rank: an error of this one has to reach `agreed`.
        self.algorithm = make_algorithm(config)
        self.checkpoints = self._checkpoints()
        saved = self.checkpoints.progress() if self.checkpoints and not config.overwrite else None
        assembly = assemble(schedule, config, world, given, self.algorithm, saved.engine if saved else None)
        self.data, self.nodes, self.evaluator = assembly.data, assembly.nodes, assembly.evaluator
        self._engine_for = assembly.engine_for
        if config.algorithm not in SIMULATING:  # others draw when gradients happen from the speeds
            self.nodes.pace = synchronous_pace(config, schedule.nodes, world)
        self.engine_reason = f"{self.nodes.engine.name} ({'as before' if saved else assembly.reason})"
        self.progress.engine = self.nodes.engine.name
        for note in assembly.notes:
            self.report(f"note: {note}")
        self.algorithm.place(self.nodes, saved.step if saved else 0)
        perturb(self.nodes, config)
        self.algorithm.prepare(self.nodes, saved.step if saved else 0)
        for note in self.algorithm.notes():
            self.report(f"note: {note}")
        if saved and self.checkpoints:
            self.checkpoints.load(self.nodes)
            self.progress = saved
            if self.checkpoints.revived:
                who = " and ".join(f"node {node}" for node in self.checkpoints.revived)
                self.report(f"note: {who}, lost before, again: from the mean of the others")

    def _checkpoints(self) -> Checkpoints | None:
        out = self.config.out
        if out is None:
            return None
        if (out / "search.json").exists() or (out / "together").exists():
            raise InputError(f"{out} holds a search for active nodes; give this run another --out")
        found = (out / "checkpoints").exists()
        if not found and (out / "metrics.jsonl").exists() and not self.config.overwrite:
            raise InputError(
                f"{out} holds a run without checkpoints, which cannot go on; use another --out or --overwrite"
            )
        trajectory = self.config.trajectory() | {"schedule": self.schedule.content_hash}
        return Checkpoints(out / "checkpoints", self.world, trajectory, self.config.keep_checkpoints)

    def _agree(self) -> None:
        """Make sure that the ranks are about to do the same thing."""
        mine = {
            "schedule": self.schedule.content_hash,
            "first step": self.progress.step,
            "engine": self.progress.engine,
        }
        everyone = self.world.gather(mine)
        for what in ("schedule", "first step"):
            for rank, other in enumerate(everyone):
                if other[what] != everyone[0][what]:
                    raise InputError(
                        f"rank {rank} has {what} {other[what]}, rank 0 has {everyone[0][what]}; "
                        "give all ranks the same files, on a folder they share"
                    )
        # Which engine is faster is measured, and may come out differently here and there.
        if self.progress.engine != everyone[0]["engine"]:
            engine, _ = self._engine_for(everyone[0]["engine"])
            self.nodes.engine = self.evaluator.engine = engine
            self.progress.engine = engine.name

    def run(self) -> RunResult:
        """Train to the last step and give the result; a run that was interrupted goes on where it was saved.

        Raises
        ------
        KeyboardInterrupt
            On SIGINT; alone, after the step under way (with AWC the round) is done and saved.
        """
        with self._recovering():
            return self._run()

    def _run(self) -> RunResult:
        config = self.config
        if config.overwrite and config.out is not None and self.world.rank == 0:
            shutil.rmtree(config.out / "checkpoints", ignore_errors=True)
        self.folder.open(config, self.schedule, self.progress.step, self.progress.engine)
        if self.checkpoints and config.checkpoint_every:
            self.checkpoints.open()
        self.report(f"gradients: {self.engine_reason}")
        if self.progress.step == config.steps:
            self.report(f"the run is finished already, with {config.steps} steps")
        elif self.progress.step:
            self.report(f"going on after step {self.progress.step}")
        else:
            self._evaluate()
        with self._interruptible():
            started, before, due = time.perf_counter(), self.progress.seconds, False
            while self.progress.step < config.steps:
                self.nodes.measure = self._measures(self.progress.step)
                self.algorithm.step(self.nodes, self.progress.step)
                self.progress.step += 1
                if self.progress.step == config.steps:
                    self.algorithm.finish()
                if self._is_evaluation(self.progress.step):
                    self.progress.seconds = before + time.perf_counter() - started
                    self._evaluate()
                due = due or self._is_checkpoint(self.progress.step)
                if (due or self.interrupted) and self.algorithm.at_rest(self.progress.step):
                    self.progress.seconds = before + time.perf_counter() - started
                    self._together(self._save)
                    due = False
                    if self.interrupted:
                        again = "the same command" + (" without --overwrite" if config.overwrite else "")
                        saved = f"saved; give {again} again to go on" if self.checkpoints else "nothing saved"
                        self.report(f"interrupted after step {self.progress.step}: {saved}")
                        raise KeyboardInterrupt
        self._together(self._finish)
        return RunResult(self.folder.rows, self.evaluator.average, self.progress.seconds, self.engine_reason)

    def _is_evaluation(self, step: int) -> bool:
        return step % self.config.eval_every == 0 or step == self.config.steps

    def _is_checkpoint(self, step: int) -> bool:
        every = self.config.checkpoint_every
        return every > 0 and (step % every == 0 or step == self.config.steps)

    def _measures(self, step: int) -> bool:
        """Say whether the round that this step belongs to ends at an evaluation."""
        local = self.algorithm.local_steps
        return self._is_evaluation(min((step // local + 1) * local, self.config.steps))

    def _together(self, act: Callable[[], Result]) -> Result:
        """Do what all ranks do together, again where some are lost meanwhile and the others can go on."""
        return act() if self.recovery is None else self.recovery.together(act)

    def _evaluate(self) -> None:
        row = self._together(self._add_evaluation)
        self.nodes.losses.reset()
        self.nodes.contraction = None
        if self.world.rank == 0:
            self.report(describe(row))
            said = len(self.folder.rows) > 1 and self.folder.rows[-2]["loss"] is None
            if not isfinite(row["loss"]) and not said:
                self.report("note: the loss is not finite, the run has diverged; a lower --lr or --clip may help")

    def _add_evaluation(self) -> Metrics:
        nodes, step = self.nodes, self.progress.step
        self._meet("evaluate")
        teams = {name: asdict(found) for name, found in self.evaluator(self.algorithm.averages(nodes)).items()}
        best = min(teams, key=lambda name: teams[name]["loss"] if isfinite(teams[name]["loss"]) else inf)
        quality = teams[best]
        totals = self.world.gather((float(nodes.losses.total or 0.0), nodes.losses.count))
        count = sum(several for _, several in totals)
        sent = self.world.gather((nodes.exchange.bytes_sent, asdict(nodes.counts)))
        counts = {what: sum(of_rank[what] for _, of_rank in sent) / nodes.living for what in sent[0][1]}
        rounds = self.algorithm.rounds(step)
        row: Metrics = {
            "step": step,
            "round": rounds,
            "epoch": step * self.algorithm.activity(self.schedule) / nodes.batches.batches_per_epoch,
            "train_loss": sum(total for total, _ in totals) / count if count else None,
            **quality,
            "lr": nodes.optimizer.lr,
            "contraction": nodes.contraction,
            **self._predicted(rounds - 1 if nodes.contraction is not None else None),
            "bytes_sent_per_node": round(nodes.bytes_per_node + counts["bytes"]),
            "bytes_on_the_wire": sum(wire for wire, _ in sent),
            "seconds": self.progress.seconds,
            **self.algorithm.figures(),
        }
        if self.algorithm.packs:
            row |= {
                "bytes_packed_per_node": round(counts["packed"]),
                "messages_per_node": counts["messages"],
                "silent_per_node": counts["silent"],
            }
        if len(teams) > 1:
            row |= {"best": best, "teams": teams}
        if self.recovery is not None:
            row["living"] = nodes.living
            self.folder.take_back(step)
        # Any rank may come to be the one that writes, where others may be lost.
        if self.world.rank == 0 or self.recovery is not None:
            self.folder.add(row)
        return row

    def _meet(self, purpose: str) -> None:
        """Wait for all ranks before they act together, without a time-out where some have long been idle."""
        if self.algorithm.idles:
            self.world.meet(f"{purpose} {self.progress.step}")

    def _predicted(self, round_number: int | None) -> Metrics:
        """Give what the analysis says of a round: its contraction at worst, and of differences in random directions."""
        if round_number is None or self.world.rank or self.algorithm.packs:
            return {"contraction_bound": None, "contraction_expected": None}
        matrix = self.nodes.rounds.round(round_number)
        return {"contraction_bound": beta(matrix), "contraction_expected": expected_contraction(matrix)}

    def _save(self) -> None:
        if self.checkpoints:
            self._meet("save")
            self.checkpoints.save(self.nodes, self.progress)

    def _finish(self) -> None:
        self._meet("finish")
        averages = self.algorithm.averages(self.nodes)
        last = self.world.first(self.folder.rows[-1].get("best", "") if self.folder.rows else "")
        self.evaluator.load_average(averages[last] if last in averages else next(iter(averages.values())))
        out = self.config.out
        if out is None or self.world.rank:
            return
        with replacing(out / "averaged-model.pt") as file:
            torch.save(averaged_state(self.evaluator.average), file)
        summary = {"finished": True, "engine": self.engine_reason, "ranks": self.world.size, **self.folder.rows[-1]}
        if self.recovery is not None:
            summary["lost"] = self.lost
        write_text(out / "summary.json", json.dumps(summary, indent=1, sort_keys=True) + "\n")

    @contextmanager
    def _recovering(self) -> Iterator[None]:
        """Go on when ranks are lost, where that is asked for."""
        if self.config.on_failure != "reweight" or self.world.size == 1:
            yield
            return
        recovery = Recovery(self.schedule, self.config, self.world, self._go_on_without)
        self.recovery = self.nodes.recovery = recovery
        finished = False
        try:
            yield
            finished = True
        finally:
            recovery.close(finished)

    def _go_on_without(self, world: World, left: Survivors) -> None:
        """Take over the ranks and rounds that are left; rank 0's work, where this one is the lowest now."""
        assert self.recovery is not None
        step, first = self.progress.step, world.rank == 0 and self.world.rank > 0
        self.world = self.evaluator.world = world
        if self.checkpoints:
            self.checkpoints.world = world
        self.nodes.go_on_without(world, left)
        if world.rank == 0:
            self.report = self._say
        if first:
            self.folder.take_over(self.config.out)
        for loss in self.recovery.losses[len(self.lost) :]:
            self.lost.append({"step": step, **asdict(loss)})
            who = " and ".join(f"rank {rank}" for rank in loss.ranks)
            self.report(
                f"note: {who} {'is' if len(loss.ranks) == 1 else 'are'} lost in step {step}, the others went on after "
                f"{loss.seconds:.2f} s; {loss.sentence}"
            )

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Alone, let the step (or round) under way end and be saved on SIGINT; several ranks stop at once."""
        if self.world.size > 1 or threading.current_thread() is not threading.main_thread():
            yield
            return

        def remember(number: int, frame: FrameType | None) -> None:
            self.interrupted = True
            signal.signal(signal.SIGINT, old)  # a second Ctrl-C ends the run at once

        old = signal.signal(signal.SIGINT, remember)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, old)
