"""Marks: the moments at which every rank leaves a snapshot of its node, to be evaluated and to go on from.

A mark is named by the steps that an average node has taken there. ``marks/00000050/rank-00003.pt`` is rank 3's snapshot
at the mark of 50 steps, and ``marks/stopped/rank-00003.pt`` one that it wrote because it was asked to stop. Ranks write
when they come to it: no rank waits for another, and one that is slow may leave a mark out.
"""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from topokit.errors import InputError
from topokit.files import read_bytes, replacing, write_text
from topokit_trainer.checkpoint import require_same_settings

__all__ = ["Marks", "Snapshot"]

VERSION = 1
STOPPED = "stopped"
Snapshot = dict[str, Any]


class Marks:
    """The snapshots of a run, in ``out/marks``.

    Parameters
    ----------
    out : Path
        Folder of the run, the same for all ranks.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.folder = out, out / "marks"

    @property
    def _header(self) -> Path:
        return self.folder / "run.json"

    def begin(self, trajectory: dict[str, Any], overwrite: bool) -> bool:
        """Make the folder ready for a run with these settings, on one rank; say whether a run goes on that is in it.

        Raises
        ------
        InputError
            If the folder holds another run, or this one with other settings.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out {self.out} cannot be made a folder: {error.strerror}") from error
        if (self.out / "search.json").exists() or (self.out / "together").exists():
            raise InputError(f"{self.out} holds a search for active nodes; give this run another --out")
        if overwrite:
            for folder in (self.folder, self.out / "checkpoints", self.out / "ranks"):
                shutil.rmtree(folder, ignore_errors=True)
            for name in ("summary.json", "averaged-model.pt", "plot.png"):
                (self.out / name).unlink(missing_ok=True)
        elif self._header.exists():
            self._check(trajectory)
            return True
        elif (self.out / "checkpoints").exists() or (self.out / "metrics.jsonl").exists():
            raise InputError(
                f"{self.out} holds a run that was not asynchronous, with which this one cannot go on; use another "
                "--out or --overwrite"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        header = {"version": VERSION, "trajectory": trajectory}
        write_text(self._header, json.dumps(header, indent=1, sort_keys=True) + "\n")
        return False

    def _check(self, trajectory: dict[str, Any]) -> None:
        try:
            header = json.loads(read_bytes(self._header))
            version, then = header["version"], header["trajectory"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self._header} is damaged; use another --out or --overwrite") from error
        if version != VERSION:
            raise InputError(f"{self.folder} has version {version}, this topokit reads version {VERSION}")
        require_same_settings(self.out, then, trajectory)

    def steps(self) -> list[int]:
        """Give all marks that are there, in order."""
        return sorted(int(path.name) for path in self.folder.glob("*") if re.fullmatch(r"\d{8,}", path.name))

    def write(self, rank: int, mark: int, snapshot: Snapshot) -> None:
        """Leave a rank's snapshot at a mark."""
        self._write(self._file(rank, mark), snapshot)
        self._stopped(rank).unlink(missing_ok=True)  # what is there is the newest

    def write_stopped(self, rank: int, snapshot: Snapshot) -> None:
        """Leave the snapshot of a rank that stops between two marks."""
        self._write(self._stopped(rank), snapshot)

    def newest(self, rank: int) -> Snapshot | None:
        """Give a rank's newest snapshot, None where there is none.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        path = self._stopped(rank) if self._stopped(rank).exists() else self._newest_file(rank)
        if path is None:
            return None
        try:
            return _load(path)
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(
                f"{path} cannot be read ({reason}); remove that file to go on from an older one"
            ) from error

    def at(self, rank: int, mark: int) -> Snapshot | None:
        """Give a rank's snapshot at a mark, or else its newest one; None where none can be read."""
        for path in (self._file(rank, mark), self._newest_file(rank)):
            # Another rank may just be removing it.
            with suppress(OSError, RuntimeError, EOFError, ValueError, KeyError, UnpicklingError):
                if path is not None:
                    return _load(path)
        return None

    def prune(self, keep: int, evaluated: int) -> None:
        """Remove what is older than the newest marks that were evaluated, but not the last word of any rank."""
        old = [mark for mark in self.steps() if mark <= evaluated][:-keep]
        for mark in old:
            folder = self.folder / f"{mark:08d}"
            for path in folder.glob("rank-*.pt"):
                if self._newest_file(int(path.stem.removeprefix("rank-"))) != path:
                    path.unlink(missing_ok=True)
            with suppress(OSError):  # somebody's last word is still in it
                folder.rmdir()

    def _newest_file(self, rank: int) -> Path | None:
        paths = (self._file(rank, mark) for mark in reversed(self.steps()))
        return next((path for path in paths if path.exists()), None)

    def _file(self, rank: int, mark: int) -> Path:
        return self.folder / f"{mark:08d}" / f"rank-{rank:05d}.pt"

    def _stopped(self, rank: int) -> Path:
        return self.folder / STOPPED / f"rank-{rank:05d}.pt"

    @staticmethod
    def _write(path: Path, snapshot: Snapshot) -> None:
        for last in (False, True):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with replacing(path) as file:
                    torch.save(snapshot, file)
                return
            except InputError:  # somebody may just have removed the empty folder
                if last or path.parent.exists():
                    raise


def _load(path: Path) -> Snapshot:
    snapshot: Snapshot = torch.load(path, map_location="cpu", weights_only=True)
    return snapshot
