"""Ranks of runs on the hosts of `network_hosts`, each as a user starts it there."""

from __future__ import annotations

__all__ = ["train_here"]


def train_here(schedule: str, options: list[str]) -> int:
    """Run ``python -m topokit_trainer SCHEDULE OPTIONS`` as the rank that the environment names; give its status."""
    from topokit_trainer.launch import main

    return main([schedule, *options])
