"""A long asynchronous run whose ranks are killed, stopped and started again at random: ``python tests/faults/soak.py``.

Some ranks are left in peace, to see whether they keep what they have: that they live, that their gradients and
averagings grow, and that their memory, their threads and their open files do not. Rank 0 is not among them.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / part) for part in (".", "trainer", "tests/support")]

from fault_runs import OPTIONS, happenings, last_step, newest_snapshots, whole_lines  # noqa: E402
from launched import Launched, launched  # noqa: E402

from topokit.designer import design  # noqa: E402

SAMPLE = 5.0  # seconds between two looks
WARM_UP = 60.0  # seconds after which a process has all that it needs
STALL = 45.0  # seconds within which gradients and averagings of a living rank have to grow
RETURN = 45.0  # seconds that a rank that was killed, or woken, has until it leaves a mark
MEMORY = 1.0  # MB a minute that a rank may seem to grow by
SLACK = 10.0  # MB that it may vary by


@dataclass(frozen=True)
class Sample:
    """What one rank's process had at one moment."""

    time: float
    memory: float  # MB, of its own
    threads: int
    files: int


def sample(pid: int, now: float) -> Sample:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Sample(now, int(status["RssAnon"].split()[0]) / 1024, int(status["Threads"]), files)


class Soak:
    """A run under fire.

    Parameters
    ----------
    run : Launched
    size : int
    peaceful : sequence of int
        Ranks that nobody harms.
    draw : Random
    """

    def __init__(self, run: Launched, size: int, peaceful: list[int], draw: random.Random) -> None:
        self.run, self.size, self.peaceful, self.draw = run, size, peaceful, draw
        self.samples: dict[int, list[Sample]] = {rank: [] for rank in peaceful}
        self.faults: Counter[str] = Counter()
        self.expected: Counter[int] = Counter()  # deaths that this script has caused
        self.asleep: dict[int, float] = {}  # stopped ranks, and when they are woken
        self.grown: dict[tuple[int, str], tuple[int, float]] = {}  # a rank's figure, and since when it has that value
        self.troubled: dict[int, float] = {}  # when a rank was last killed or woken
        self.absent: dict[int, float] = {}  # since when a rank has no process
        self.longest = 0.0  # seconds that a figure of a living rank was the same

    def go(self, seconds: float) -> None:
        """Do harm and look, for so long."""
        begin = time.monotonic()
        look, harm = begin, begin + 15
        while (now := time.monotonic()) < begin + seconds:
            assert self.run.process.poll() is None, f"the run has ended:\n{self.run.process.communicate()[1]}"
            for rank, due in list(self.asleep.items()):
                if now >= due:
                    self._wake(rank)
            if now >= harm and now < begin + seconds - STALL:
                self._harm(now)
                harm = now + self.draw.uniform(3, 15)
            if now >= look:
                self._look(now)
                look = now + SAMPLE
            time.sleep(0.1)
        for rank in list(self.asleep):
            self._wake(rank)

    def _harm(self, now: float) -> None:
        pids = self.run.pids()
        victims = [rank for rank in pids if rank not in self.peaceful and rank not in self.asleep]
        if len(pids) - len(self.asleep) <= self.size / 2 or not victims:
            return
        rank = self.draw.choice(victims)
        if self.draw.random() < 0.6:
            self.faults["killed"] += 1
            self.expected[rank] += 1
            self.run.kill(rank)
        else:
            self.faults["stopped"] += 1
            self.run.send(rank, signal.SIGSTOP)
            self.asleep[rank] = now + self.draw.choice([1.0, 5.0, 12.0])
        self.troubled[rank] = now

    def _wake(self, rank: int) -> None:
        self.asleep.pop(rank)
        self.troubled[rank] = time.monotonic()
        self.run.send(rank, signal.SIGCONT)

    def _look(self, now: float) -> None:
        pids = self.run.pids()
        for rank in self.peaceful:
            assert rank in pids, f"rank {rank} has died by itself"
            self.samples[rank].append(sample(pids[rank], now))
        snapshots = newest_snapshots(self.run.folder)
        for rank in range(self.size):
            if rank in pids:
                self.absent.pop(rank, None)
            else:
                absent = now - self.absent.setdefault(rank, now)
                assert absent < 2 * STALL, f"rank {rank} was not started again for {absent:.0f} s"
            for what in ("count", "averagings"):
                value, since = self.grown.get((rank, what), (-1, now))
                figure = snapshots[rank][what] if rank in snapshots else value
                alone = what == "averagings" and not any(self._well(other, pids, now) for other in self._beside(rank))
                if figure != value or alone or rank not in pids or rank in self.asleep:
                    self.grown[rank, what] = figure, now
                    continue
                idle = now - max(since, self.troubled.get(rank, 0.0) + RETURN)
                self.longest = max(self.longest, idle)
                assert idle < STALL, f"the {what} of rank {rank} have stood at {value} for {idle:.0f} s"

    def _beside(self, rank: int) -> tuple[int, int]:
        return (rank - 1) % self.size, (rank + 1) % self.size

    def _well(self, rank: int, pids: dict[int, int], now: float) -> bool:
        """Whether a rank runs and has done so for a while."""
        return rank in pids and rank not in self.asleep and now > self.troubled.get(rank, -RETURN) + RETURN

    def check(self) -> None:
        """See that nobody died that was not killed, and that nothing grew."""
        for event in self.run.events():
            if event["kind"] == "lost":
                assert event.get("signal") == "SIGKILL", f"rank {event['rank']} ended by itself: {event}"
        deaths = Counter(event["rank"] for event in self.run.events() if event["kind"] == "lost")
        assert deaths == self.expected, f"deaths {deaths}, of which expected {self.expected}"
        for rank, samples in self.samples.items():
            warm = [s for s in samples if s.time > samples[0].time + WARM_UP]
            assert len(warm) >= 6, "too short to tell growth from noise: give it two minutes or more"
            third = len(warm) // 3
            first, last = warm[:third], warm[-third:]
            minutes = [(s.time - warm[0].time) / 60 for s in warm]
            slope = float(np.polyfit(minutes, [s.memory for s in warm], 1)[0])
            growth = median(s.memory for s in last) - median(s.memory for s in first)
            threads, files = (
                [max(getattr(s, what) for s in part) for part in (first, last)] for what in ("threads", "files")
            )
            print(
                f"rank {rank}: memory {first[0].memory:.1f} MB to {last[-1].memory:.1f} MB ({slope:+.2f} MB a minute), "
                f"threads at most {threads[0]} then {threads[1]}, files {files[0]} then {files[1]}"
            )
            assert growth < SLACK, f"the memory of rank {rank} has grown by {growth:.1f} MB"
            assert slope < MEMORY, f"the memory of rank {rank} grows by {slope:.2f} MB a minute"
            assert threads[1] <= threads[0] + 4, f"the threads of rank {rank} grow"
            assert files[1] <= files[0] + 10, f"the open files of rank {rank} grow"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--processes", type=int, default=6)
    parser.add_argument("--peaceful", type=int, default=2, help="ranks that nobody harms")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--acid", action="store_true")
    asked = parser.parse_args()
    draw, size = random.Random(asked.seed), asked.processes
    peaceful = sorted(draw.sample(range(1, size), asked.peaceful))
    words = ["--survive", "--restarts", 10**6, "--steps", 10**7, "--overwrite", *(["--acid"] if asked.acid else [])]
    with TemporaryDirectory() as scratch:
        folder = Path(scratch, "run")
        design("pairwise", size, graph="ring").save(Path(scratch, "pairs.json"))
        with launched(folder, Path(scratch, "pairs.json"), size, *OPTIONS, *words) as run:
            run.until(lambda: last_step(folder) >= 100, timeout=120)
            print(f"{size} ranks, of which {peaceful} are left in peace", flush=True)
            soak = Soak(run, size, peaceful, draw)
            soak.go(asked.seconds)
            soak.check()
            back = [rank for rank in range(size) if happenings(folder, "rejoined", rank)]
            row = whole_lines(folder / "metrics.jsonl")[-1]
            run.process.send_signal(signal.SIGINT)
            status, errors = run.end(timeout=30)
            assert status == 130, errors
    print(
        f"{asked.seconds:.0f} s: {soak.faults['killed']} killed, {soak.faults['stopped']} stopped; ranks {back} were "
        f"killed and came back; step {row['step']}, accuracy {row['accuracy']:.3f}, "
        f"consensus distance {row['consensus_distance']:.3f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
