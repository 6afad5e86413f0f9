"""`topokit train` as a user starts it, whose ranks tests kill, stop and let go on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Launched", "launched", "rank_pids"]

ROOT = Path(__file__).parents[2]


def rank_pids(launcher: int) -> dict[int, int]:
    """Give the processes of the ranks that a launcher has started and that live, by rank."""
    found = {}
    children = Path(f"/proc/{launcher}/task").glob("*/children")
    with contextlib.suppress(OSError):
        for pid in (int(word) for path in children for word in path.read_text().split()):
            with contextlib.suppress(OSError):
                entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                variables = dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)
                # A child that has not begun its own program yet still has the launcher's environment.
                if b"RANK" in variables:
                    found[int(variables[b"RANK"])] = pid
    return found


class Launched:
    """A run under way.

    Attributes
    ----------
    process : Popen
        The launcher.
    folder : Path
        The run's ``--out``.
    """

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process, self.folder = process, folder

    def pids(self) -> dict[int, int]:
        """Give the processes of the living ranks."""
        return rank_pids(self.process.pid)

    def send(self, rank: int, number: int) -> int:
        """Send a signal to a rank; give its process."""
        pid = self.pids()[rank]
        os.kill(pid, number)
        return pid

    def kill(self, rank: int) -> int:
        """Kill a rank with SIGKILL; give its process."""
        return self.send(rank, signal.SIGKILL)

    def events(self) -> list[dict[str, Any]]:
        """Give the launcher's events so far (runs with ``--survive``)."""
        path = self.folder / "launcher.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def kinds(self, rank: int) -> list[str]:
        """Give the kinds of the launcher's events about one rank, in order."""
        return [event["kind"] for event in self.events() if event.get("rank") == rank]

    def until(self, condition: Callable[[], Any], timeout: float = 60.0) -> None:
        """Wait for a condition while the run goes on."""
        limit = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, f"the run has ended:\n{self.process.communicate()[1]}"
            if time.monotonic() > limit:
                raise AssertionError(f"nothing within {timeout} s")
            time.sleep(0.02)

    def until_step(self, step: int, timeout: float = 60.0) -> None:
        """Wait for the evaluation after a step."""
        self.until(lambda: self.steps() and self.steps()[-1] >= step, timeout)

    def steps(self) -> list[int]:
        """Give the steps that have been evaluated."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line)["step"] for line in lines if line.endswith("\n")]

    def end(self, timeout: float = 60.0) -> tuple[int, str]:
        """Wait for the end; give the exit status and what was said on standard error."""
        _, errors = self.process.communicate(timeout=timeout)
        return self.process.returncode, errors

    def summary(self) -> dict[str, Any]:
        """Give the run's summary."""
        summary: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return summary


@contextmanager
def launched(folder: Path, schedule: Path, processes: int, *options: object) -> Iterator[Launched]:
    """Start ``topokit train SCHEDULE --out FOLDER --processes P OPTIONS``; in the end nothing of it is left."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", TERM="dumb", GLOO_SOCKET_IFNAME="lo")
    environment["PYTHONPATH"] = os.pathsep.join(str(ROOT / part) for part in (".", "trainer", "cli", "tests/support"))
    words = [sys.executable, "-m", "topokit_cli", "train", schedule, "--out", folder, "--processes", processes]
    process = subprocess.Popen(
        [str(word) for word in (*words, "--device", "cpu", *options)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    ranks: dict[int, int] = {}
    try:
        yield Launched(process, folder)
        ranks = rank_pids(process.pid)
    finally:
        ranks |= rank_pids(process.pid)
        for pid in (process.pid, *ranks.values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()
