"""Asynchronous training on a real clock: one node a rank, each at its own pace, and no rank needed by the others.

The main thread is the gradient loop; it waits for nobody. The averagings are the business of another thread (`Gossip`),
and who lives, and how far others are, of others still (`Peers`). The run ends when all ranks together have taken as
many gradients as asked for: the fast take more, and those of a lost rank are taken by the others.

At marks (`Marks`) every rank leaves a snapshot. The lowest living rank evaluates them and writes what the run leaves
(`Recorder`); should it be lost, the next one goes on with that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from topokit.errors import TopokitError
from topokit.schedule import Schedule
from topokit_trainer.algorithms import algorithm_for, make_algorithm
from topokit_trainer.assembly import Given, assemble, perturb
from topokit_trainer.asynchronous.dynamics import dynamics_of
from topokit_trainer.asynchronous.gossip import Gossip
from topokit_trainer.asynchronous.journal import Happening, Journal, sentence
from topokit_trainer.asynchronous.learner import Learner
from topokit_trainer.asynchronous.links import LinkBroken, Links
from topokit_trainer.asynchronous.marks import Marks, Snapshot
from topokit_trainer.asynchronous.recorder import Recorder
from topokit_trainer.asynchronous.roster import Roster
from topokit_trainer.asynchronous.start import check, mean_rate, neighbours, open_folder
from topokit_trainer.asynchronous.stopping import StopRequest
from topokit_trainer.asynchronous.turns import Turns
from topokit_trainer.config import TrainConfig
from topokit_trainer.loop import RunResult
from topokit_trainer.pace import pace_of
from topokit_trainer.peers import Peers
from topokit_trainer.seeding import keyed_generator
from topokit_trainer.telemetry import Reporter
from topokit_trainer.world import World

__all__ = ["train_asynchronously"]

ENOUGH = 0.8  # of the averagings that were asked for
SLICE = 0.2  # seconds between two looks at what others have done, when there is nothing else to do


def train_asynchronously(
    schedule: Schedule,
    config: TrainConfig,
    world: World,
    given: Given,
    report: Reporter | None = None,
    finish: Callable[[Path], None] | None = None,
) -> RunResult:
    """Train one node on this rank; every rank calls this, with the same arguments.

    Parameters
    ----------
    schedule, config, world : Schedule, TrainConfig, World
        The world has a store and no process group: ``open_world(config, grouped=False)``.
    given : Given
        What a program gives instead of the configuration's.
    report : callable, optional
        Gets lines for people, on the rank that speaks for all.
    finish : callable, optional
        Called with the folder of the run at its end, by the one rank that has written the summary.

    Raises
    ------
    InputError
        Before any training, when something does not fit together.
    KeyboardInterrupt
        On SIGINT or SIGTERM, with the node saved; the same command goes on from there.
    """
    return _Worker(schedule, config, world, given, report or (lambda line: None)).run(finish)


class _Worker:
    """One rank of the run."""

    def __init__(
        self,
        schedule: Schedule,
        config: TrainConfig,
        world: World,
        given: Given,
        report: Reporter,
    ) -> None:
        self.out = check(schedule, config, world)
        if config.algorithm == "auto":
            config = replace(config, algorithm=algorithm_for(schedule))
        self.schedule, self.config, self.world, self.report = schedule, config, world, report
        self.rank, self.goal = world.rank, config.steps * schedule.nodes
        assembly = assemble(schedule, config, world, given, make_algorithm(config))
        assembly.nodes.pace = pace_of(config.speeds, config.slow_by, schedule.nodes, [world.rank])
        perturb(assembly.nodes, config)
        self.learner = Learner(assembly, dynamics_of(schedule, config.acid))
        self.engine = f"{assembly.nodes.engine.name} ({assembly.reason})"
        self.notes = assembly.notes
        self.near = neighbours(schedule, world.rank)
        self.marks = Marks(self.out)
        self.journal = Journal(self.out, self.rank)
        epoch = assembly.nodes.batches.batches_per_epoch
        self.recorder = Recorder(schedule, config, self.out, self.marks, assembly.evaluator, epoch)
        self.mark = -1  # of the last snapshot
        self.seconds, self.averagings = 0.0, 0  # of former starts
        self._looked = 0.0  # when it last looked for a summary
        self._returned: float | None = None  # when it was last heard again after an absence

    # The story of a run

    def run(self, finish: Callable[[Path], None] | None) -> RunResult:
        """Join the others, train, and see to it that the run is summed up."""
        engine = self.learner.nodes.engine.name
        resumed = open_folder(self.schedule, self.config, self.world, self.marks, engine)
        if self.recorder.finished:
            if self.rank == 0:
                self.report(f"the run is finished already, with {self.config.steps} steps")
            return self._result()
        self._go_on()
        config, store = self.config, self.world.store
        assert store is not None  # the folder was opened through it
        self.peers = Peers(self.rank, self.world.size, store, lost_after=config.lost_after, timeout=config.timeout)
        try:
            with StopRequest() as self.stop:
                self._join(resumed)
                try:
                    self._train()
                finally:
                    self.gossip.stop()
                led = self._end()
        finally:
            self.peers.close()
        if led and finish is not None:
            finish(self.out)
        return self._result()

    def _join(self, resumed: bool) -> None:
        """Take one's place among the others, and begin to average."""
        config, count = self.config, self.learner.count
        self.roster = Roster(self.peers, self.journal)
        self.turns = Turns(self.roster, self.recorder, self.report)
        last = self.recorder.last()
        for mark in self.marks.steps():
            if last < mark <= self.mark:
                self.turns.add(mark)
        self.peers.say(count=count, mark=self.mark, phase="training")
        mode: Literal["gossip", "ad-psgd"] = "ad-psgd" if config.algorithm == "ad-psgd" else "gossip"
        key = self.rank, count, self.peers.incarnation
        partners, credits = (keyed_generator(config.seed, what, *key) for what in ("partners", "averagings"))
        self.gossip = Gossip(self.peers, Links(self.peers), self.learner.state, self.near, partners, mode)
        self.gossip.gradients = count
        # Poisson in the sum of the rates, or exactly one: AD-PSGD's averaging belongs to its gradient.
        rate = sum(rate for _, rate in self.near)
        self.credit = (lambda: 1.0) if mode == "ad-psgd" else (lambda: float(credits.poisson(rate)))
        self._say_hello(resumed)
        if self.peers.incarnation:
            self._catch_up()  # before it averages: what it has may be long out of date
        self.gossip.start()

    def _go_on(self) -> None:
        """Take up this rank's newest snapshot, if there is one."""
        saved = self.marks.newest(self.rank)
        if saved is not None:
            self.learner.restore(saved)
            self.mark, self.seconds, self.averagings = saved["mark"], saved["seconds"], saved["averagings"]

    def _say_hello(self, resumed: bool) -> None:
        if self.rank or self.peers.incarnation:
            return
        for note in self.notes:
            self.report(f"note: {note}")
        self.report(f"gradients: {self.engine}")
        if resumed:
            self.report(f"going on after step {max(self.mark, 0)}")

    def _train(self) -> None:
        self._started, self._known = time.perf_counter(), 0
        while not self._over():
            if self.stop.wanted:
                self._leave()
            if self.gossip.error is not None:
                raise self.gossip.error
            if self.gossip.hangs:  # a launcher that lets ranks come back starts this one again
                raise TopokitError(f"the averagings of rank {self.rank} hang; start it again to go on")
            with self.learner.state.paused():
                self._leave_mark()
                self.turns.take()
            before = time.perf_counter()
            self.learner.gradient()
            self.gossip.credit(self.credit())
            self.peers.say(count=self.learner.count)
            self.learner.advance(min(self._known // self.schedule.nodes, self.config.steps))
            self._look_around()
            self.learner.state.took(time.perf_counter() - before)

    def _over(self) -> bool:
        self._known = self.roster.total(self.learner.count)
        if self.roster.says("trained"):  # who has come to the goal has heard of gradients that this rank has not
            self._known = max(self._known, self.goal)
        return self._known >= self.goal or self._finished_elsewhere()

    def _finished_elsewhere(self) -> bool:
        """Say whether the others have finished the run; where they cannot be heard, their summary tells."""
        if self.roster.says("done"):
            return True
        now = time.monotonic()
        if len(self.roster.living()) == self.world.size or now - self._looked < self.config.lost_after:
            return False
        self._looked = now
        return self.recorder.finished

    def _end(self) -> bool:
        """Leave the last mark and wait until it is evaluated, by this rank or another; say whether by this one."""
        self._leave_mark()
        self.peers.say(phase="trained")
        while not (self.roster.says("done") or self.recorder.finished):
            if self.stop.wanted:
                self._leave()
            self._look_around()
            self.turns.take()
            if self.turns.mine and self.recorder.last() >= self.config.steps and not self.recorder.finished:
                self.peers.wait(lambda: not self.peers.suspects(), self.config.lost_after)
                self._look_around()  # what has become of them belongs into the summary
                counts = {**self.roster.counts, self.rank: self.learner.count}
                window = 2 * self.config.lost_after
                self.recorder.finish(self.roster.living(), self.engine, counts, self.world.size, window)
                self._tell_of_averagings()
                self.peers.say(phase="done")
                return True
            self.peers.wait(lambda: self.stop.wanted or self.roster.says("done"), SLICE)
        return False

    def _tell_of_averagings(self) -> None:
        """Say so if there were far fewer averagings than asked for, which the gradients never wait for."""
        found = self.recorder.rows()[-1]["averagings_per_gradient"]
        rate = 2.0 if self.config.algorithm == "ad-psgd" else mean_rate(self.schedule)
        if found is not None and found < ENOUGH * rate:
            self.report(
                f"note: {found:.2g} averagings for each gradient, where {rate:.2g} were asked for: gradients were "
                "faster than averagings can be; processes that share few cores, and small models, make it so"
            )

    def _result(self) -> RunResult:
        self.recorder.load_average()
        rows = self.recorder.rows()
        return RunResult(rows, self.recorder.evaluator.average, rows[-1]["seconds"], self.engine)

    # Marks

    def _leave_mark(self) -> None:
        """Where a mark is due, leave a snapshot there; it takes the time of going through the test set."""
        every, steps = self.config.eval_every, self.config.steps
        done = self._known // self.schedule.nodes
        due = steps if self._known >= self.goal else done - done % every
        if due <= self.mark:
            return
        for mark in (*range((self.mark // every + 1) * every, due, every), due):
            self.turns.add(mark)  # also those that this rank was too slow for
        self.mark = due
        # Others saw gradients of a rank that was started again which its snapshot does not know of.
        self.learner.count = max(self.learner.count, self.roster.remembered())
        self.marks.write(self.rank, due, self._snapshot())
        self.peers.say(mark=due)

    def _snapshot(self) -> Snapshot:
        averagings = self.averagings + sum(self.gossip.averagings.values())
        size = self.learner.nodes.stacks.bytes_per_node
        self.seconds, self._started = self.seconds + time.perf_counter() - self._started, time.perf_counter()
        return self.learner.snapshot() | {
            "rank": self.rank,
            "mark": self.mark,
            "seconds": self.seconds,
            "averagings": averagings,
            "bytes": averagings * size,
        }

    # What happens to ranks

    def _look_around(self) -> None:
        """Take note of ranks that were lost or came back; among them may have been this one."""
        for happening in self.roster.news():
            self._tell(happening)
        if self.peers.away > self.config.lost_after and self.peers.living():
            # What others say of the absence may be still under way; and it may have been theirs.
            self.peers.clear_away()
            self._returned = time.monotonic()
        if self._returned is not None and time.monotonic() - self._returned > self.config.lost_after / 3:
            self._returned = None
            if self.roster.was_dropped():
                self._catch_up()

    def _tell(self, happening: Happening) -> None:
        if self.turns.mine:
            self.report(sentence(happening))

    def _catch_up(self) -> None:
        """Take over a neighbour's parameters after an absence; the optimizer starts anew with them."""
        near = [rank for rank, _ in self.near]
        order = [*near, *sorted(set(range(self.world.size)).difference(near, [self.rank]))]
        asked: set[int] = set()

        def untried() -> list[int]:
            living = self.peers.living()
            return [rank for rank in order if rank in living and rank not in asked]

        # Whoever was started again hears of the others one by one, and the first may have been started again, too.
        until = time.monotonic() + self.config.lost_after
        self.peers.wait(lambda: not self.peers.living().isdisjoint(near), self.config.lost_after)
        while self.peers.wait(lambda: bool(untried()), max(until - time.monotonic(), 0.0)):
            rank = untried()[0]
            asked.add(rank)
            try:
                x, tilde, _ = self.gossip.fetch_from(rank)
            except LinkBroken:
                continue
            self.learner.state.adopt(x, tilde)
            self.learner.forget()
            self._tell(self.journal.add("fetched", self.rank, of=rank))
            break
        else:
            self._tell(self.journal.add("kept", self.rank))
        self.roster.was_dropped()
        self.peers.clear_away()

    def _leave(self) -> None:
        """Save the node and end, because this process was asked to."""
        self.gossip.stop()
        self.marks.write_stopped(self.rank, self._snapshot())
        self.peers.say(phase="stopped")
        if self.rank == 0:
            again = "the same command" + (" without --overwrite" if self.config.overwrite else "")
            self.report(f"interrupted after {self.learner.count} gradients: saved; give {again} again to go on")
        raise KeyboardInterrupt
