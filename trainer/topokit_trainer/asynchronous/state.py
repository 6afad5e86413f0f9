"""One node's parameters, which its gradient loop and its averagings change at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import torch
from torch import Tensor

from topokit_trainer.asynchronous.dynamics import Dynamics, mix_

__all__ = ["NodeState"]

SMOOTHING = 0.5  # of the duration of a gradient, the unit of time


class NodeState:
    """The pair (x, x~) of one node; every method is one action that nothing comes between.

    Parameters
    ----------
    start : sequence of Tensor, each of shape (columns,)
        The starting point; it is copied.
    dynamics : Dynamics
    clock : callable, optional
        Gives the time in seconds.

    Attributes
    ----------
    x, tilde : list of Tensor
        Only to be touched within ``lock``; ``tilde`` is empty without acceleration.
    version : int
        Grows with every averaging.
    unit : float
        Seconds of one gradient, as last seen: the unit of time of the equations. Zero before the first; then nothing
        mixes.
    """

    def __init__(
        self, start: Sequence[Tensor], dynamics: Dynamics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.lock = Lock()
        self.dynamics, self.clock = dynamics, clock
        self.x = [values.detach().clone() for values in start]
        self.tilde = [values.clone() for values in self.x] if dynamics.accelerated else []
        self.version = 0
        self.unit = 0.0
        self._paused_at: float | None = None
        self._skipped = 0.0
        self._mixed_at = self._time()

    def _time(self) -> float:
        return (self.clock() if self._paused_at is None else self._paused_at) - self._skipped

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let no time pass for the equations: what is done meanwhile is no part of training."""
        with self.lock:
            self._paused_at = self.clock()
        try:
            yield
        finally:
            with self.lock:
                self._skipped += self.clock() - self._paused_at
                self._paused_at = None

    def _mix(self) -> None:
        """Bring the pair to the present (the lock is held)."""
        now = self._time()
        if self.tilde and self.unit > 0:
            mix_(self.x, self.tilde, self.dynamics.share((now - self._mixed_at) / self.unit))
        self._mixed_at = now

    def snapshot(self) -> list[Tensor]:
        """Give a copy of x as it is now, mixed: what a partner is shown, and what a gradient is taken at."""
        with self.lock:
            self._mix()
            return [values.clone() for values in self.x]

    def pair(self) -> tuple[list[Tensor], list[Tensor]]:
        """Give copies of x and x~ as they are now (x~ is empty without acceleration)."""
        with self.lock:
            self._mix()
            return [values.clone() for values in self.x], [values.clone() for values in self.tilde]

    @torch.no_grad()
    def average(self, shown: Sequence[Tensor], seen: Sequence[Tensor]) -> None:
        """Do one's part of an averaging: move by what was shown to the partner, less what was seen of it.

        Gradients may have come in between; they stay, because the difference is added, not the mean taken over.
        """
        with self.lock:
            self._mix()
            for k, (mine, theirs) in enumerate(zip(shown, seen, strict=True)):
                m = mine - theirs.to(mine.device)
                self.x[k].sub_(m, alpha=self.dynamics.alpha)
                if self.tilde:
                    self.tilde[k].sub_(m, alpha=self.dynamics.alpha_tilde)
            self.version += 1

    @torch.no_grad()
    def step(self, apply: Callable[[list[Tensor]], None]) -> None:
        """Take a gradient step: ``apply`` changes x in place, and x~ is moved by as much."""
        with self.lock:
            self._mix()
            before = [values.clone() for values in self.x] if self.tilde else []
            apply(self.x)
            for old, new, other in zip(before, self.x, self.tilde, strict=False):
                other.add_(new - old)

    @torch.no_grad()
    def adopt(self, x: Sequence[Tensor], tilde: Sequence[Tensor]) -> None:
        """Take over another node's pair; without a second copy given, x~ starts at x."""
        with self.lock:
            for mine, values in zip(self.x, x, strict=True):
                mine.copy_(values)
            for mine, values in zip(self.tilde, (tilde or x) if self.tilde else (), strict=True):
                mine.copy_(values)
            self.version += 1
            self._mixed_at = self._time()

    def took(self, seconds: float) -> None:
        """Note how long a gradient took, from its start to the start of the next."""
        with self.lock:
            self._mix()
            self.unit = seconds if self.unit == 0 else SMOOTHING * self.unit + (1 - SMOOTHING) * seconds
