"""Where schedules come from and go to: files, standard input and output, and names of topologies."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from topokit.errors import InputError
from topokit_cli.output import out

if TYPE_CHECKING:
    from topokit.schedule import Schedule

__all__ = ["check_folder", "labelled", "looks_like_a_file", "read_schedule", "read_schedules", "write_schedule"]

SUFFIXES = (".json", ".gz", ".npz")


def read_schedule(source: str) -> Schedule:
    """Read a schedule from a file, or from standard input where `source` is ``-``."""
    from topokit.schedule import Schedule

    if source == "-":
        return Schedule.loads(sys.stdin.buffer.read(), origin="standard input")
    return Schedule.load(source)


def read_schedules(sources: Sequence[str]) -> list[Schedule]:
    """Read several schedules, of which one at most can come from standard input."""
    if sources.count("-") > 1:
        raise InputError("standard input (-) can be read once, but is given more than once")
    return [read_schedule(source) for source in sources]


def write_schedule(schedule: Schedule, target: str) -> None:
    """Write a schedule to a file, or to standard output where `target` is ``-``."""
    if target == "-":
        out.data(schedule.dumps())
    else:
        schedule.save(target)
        out.note(f"wrote {target}")


def check_folder(target: str | None) -> None:
    """Refuse a file to write whose folder does not exist, before time is spent on what it is to hold."""
    if target is not None and not Path(target).parent.is_dir():
        raise InputError(f"cannot write {target}: there is no folder {Path(target).parent}")


def labelled(schedules: Sequence[Schedule], sources: Sequence[str]) -> dict[str, Schedule]:
    """Name each schedule for a figure or a table: by what it is, and by its file where that is not enough.

    Parameters
    ----------
    schedules : sequence of Schedule
    sources : sequence of str
        What each was read from.
    """
    names = [schedule.name for schedule in schedules]
    labels: dict[str, Schedule] = {}
    for schedule, source, name in zip(schedules, sources, names, strict=True):
        label = name if names.count(name) == 1 else f"{name} ({Path(source).name})"
        while label in labels:
            label += "'"
        labels[label] = schedule
    return labels


def looks_like_a_file(source: str) -> bool:
    """Whether an argument names a schedule file rather than a topology."""
    return source == "-" or source.endswith(SUFFIXES) or "/" in source or Path(source).is_file()
