"""Whose turn it is to evaluate a mark, and when it is time to."""

from __future__ import annotations

import time

from topokit_trainer.asynchronous.recorder import Recorder
from topokit_trainer.asynchronous.roster import Roster
from topokit_trainer.telemetry import Reporter, describe

__all__ = ["Turns"]

PATIENCE = 10.0  # seconds that a mark waits for the snapshot of a slow rank; then an older one has to do


class Turns:
    """The marks that nobody is known to have evaluated.

    Parameters
    ----------
    roster : Roster
    recorder : Recorder
    report : callable
        Gets the main figures of an evaluation made here.
    """

    def __init__(self, roster: Roster, recorder: Recorder, report: Reporter) -> None:
        self.roster, self.recorder, self.report = roster, recorder, report
        self._since: dict[int, float] = {}

    def add(self, mark: int) -> None:
        """Take note of a mark that the run has come to."""
        self._since.setdefault(mark, time.monotonic())

    @property
    def mine(self) -> bool:
        """Whether this rank is the lowest of the living, which evaluates and speaks for all."""
        return self.roster.living()[0] == self.roster.peers.rank

    def take(self) -> None:
        """Evaluate the oldest mark that is still to be, if that is up to this rank and the others are ready.

        It takes the time of reading all snapshots twice, and of going through the test set.
        """
        if not self._since:
            return
        peers = self.roster.peers
        if not self.mine:
            heard = max(peers.status_of(rank).get("evaluated", -1) for rank in self.roster.counts)
            self._since = {mark: since for mark, since in self._since.items() if mark > heard}
            return
        mark, since = next(iter(self._since.items()))
        living, waited = self.roster.living(), time.monotonic() - since
        ready = all(peers.status_of(rank).get("mark", -1) >= mark for rank in living)
        if not ready and waited < PATIENCE:
            return
        # Who hears of fewer than half of the ranks may have been cut off from others who go on, and evaluate.
        few = 2 * len(living) < peers.size or (2 * len(living) == peers.size and living[0] > 0)
        if few and waited < 2 * peers.lost_after:
            return
        del self._since[mark]
        row = self.recorder.evaluate(mark, living, peers.size)
        peers.say(evaluated=mark)
        if row is not None:
            self.report(describe(row))
