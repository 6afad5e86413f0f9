"""Decentralized training along mixing schedules, on torch.distributed or with many nodes in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from topokit_trainer.config import TrainConfig

if TYPE_CHECKING:
    from topokit_trainer.data import Data
    from topokit_trainer.loop import RunResult, Trainer, train

__all__ = ["Data", "RunResult", "TrainConfig", "Trainer", "train"]

_HOMES = {"Data": "data", "RunResult": "loop", "Trainer": "loop", "train": "loop"}


def __getattr__(name: str) -> Any:
    # PyTorch is loaded when something that needs it is asked for: the command line lists options without it.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"topokit_trainer.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'topokit_trainer' has no attribute {name!r}")
