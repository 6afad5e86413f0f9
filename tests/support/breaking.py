"""Runs that break off, as if all ranks were killed."""

from __future__ import annotations

from contextlib import suppress

from topokit_trainer import Trainer
from topokit_trainer.nodes import Nodes

__all__ = ["break_off"]


class KilledError(Exception):
    """Stands for a kill."""


def break_off(trainer: Trainer, before: int) -> None:
    """Run up to the step of a number, which is not taken."""
    step, reached = trainer.algorithm.step, False

    def breaking(nodes: Nodes, number: int) -> None:
        nonlocal reached
        if number == before:
            reached = True
            raise KilledError
        step(nodes, number)

    trainer.algorithm.step = breaking  # type: ignore[method-assign]
    with suppress(KilledError):
        trainer.run()
    assert reached, f"the run was over before step {before}"
