"""The ranks of a run as plain processes of this machine: starting them, seeing how they die, ending them.

Each rank is a failure domain of its own, and the store in which they find one another lives in the launcher, outside
all of them: whichever rank dies, rank 0 too, takes nothing else with it. What a death means is for others to say.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Thread, current_thread, main_thread
from types import FrameType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

__all__ = [
    "LAUNCHER",
    "REFUSED",
    "TICK",
    "Death",
    "RankProcesses",
    "end_with",
    "first_to_say",
    "leave_refusal",
    "signals_interrupt",
]

LAUNCHER = "TOPOKIT_LAUNCHER"  # environment of a rank: the process that started it
REFUSED = 2  # exit status of a rank that has left word why the run, as it was asked for, cannot be
REFUSAL = "topokit refusal"
TICK = 0.05  # seconds between two looks at the processes
# Seconds for a process to end after a signal, before it gets a stronger one: whoever is interrupted may save its work.
PATIENCE = {signal.SIGINT: 10.0, signal.SIGTERM: 3.0}
STORE_TIMEOUT = 3.0
PR_SET_PDEATHSIG = 1  # Linux: the signal that a process gets when the one that started it dies


@dataclass(frozen=True)
class Death:
    """How a rank ended.

    Attributes
    ----------
    rank : int
    status : int
        Exit status; below 0 the number of the signal that killed it.

    Examples
    --------
    >>> print(Death(3, -9))
    rank 3 was killed by SIGKILL
    >>> print(Death(0, 7))
    rank 0 ended with exit status 7
    """

    rank: int
    status: int

    @property
    def killed(self) -> bool:
        """Whether a signal ended it, and not the rank itself."""
        return self.status < 0

    @property
    def signal_name(self) -> str | None:
        """What it was killed by."""
        if not self.killed:
            return None
        try:
            return signal.Signals(-self.status).name
        except ValueError:
            return f"signal {-self.status}"

    def __str__(self) -> str:
        how = f"was killed by {self.signal_name}" if self.killed else f"ended with exit status {self.status}"
        return f"rank {self.rank} {how}"


class RankProcesses:
    """Processes of ranks, and the store that they share; at the end of the ``with`` block all are gone.

    Parameters
    ----------
    command : sequence of str
        What every rank runs; which rank it is, the environment says, as under torchrun.
    size : int
        Number of ranks.
    """

    def __init__(self, command: Sequence[str], size: int) -> None:
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        self.command, self.size = list(command), size
        self.store = TCPStore(
            "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=STORE_TIMEOUT)
        )
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(*self.running)
        for process in self._running.values():
            process.wait()

    @property
    def running(self) -> frozenset[int]:
        """Ranks that have been started and have not ended, as far as `deaths` has seen."""
        return frozenset(self._running)

    def start(self, rank: int) -> int:
        """Start a rank, for the first time or again; give the number of its process."""
        environment = os.environ | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_WORLD_SIZE": str(self.size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": "0",  # one that comes back meets the others where they were
            # Ranks share the cores of this machine; without this each would start a thread for every core.
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.size))),
            # PyTorch warns of every wait in the store that ends without word, and ranks without work wait long.
            "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
            LAUNCHER: str(os.getpid()),
        }
        environment.pop("TORCHELASTIC_RUN_ID", None)
        # A session of its own: a terminal's Ctrl-C reaches the launcher alone, which tells the ranks.
        self._running[rank] = subprocess.Popen(self.command, env=environment, start_new_session=True)
        return self._running[rank].pid

    def deaths(self) -> list[Death]:
        """Give the ranks that have ended since the last call; those that were killed come first.

        A rank that fails because another has died needs a moment for it, but both may be found at one look.
        """
        found = [Death(rank, code) for rank, p in self._running.items() if (code := p.poll()) is not None]
        for death in found:
            del self._running[death.rank]
        return sorted(found, key=lambda death: (not death.killed, death.status == -signal.SIGABRT, death.rank))

    def refusal(self) -> str | None:
        """Give the word that a rank has left with `leave_refusal`."""
        return self.store.get(REFUSAL).decode() if self.store.check([REFUSAL]) else None

    def stopped(self) -> frozenset[int]:
        """Give the ranks that a signal such as SIGSTOP has stopped, where the system tells (Linux).

        A stopped process is told from one that computes, waits or swaps by its state, not by its silence: however slow
        a rank is, it is never among these.
        """
        return frozenset(rank for rank, p in self._running.items() if _state(p.pid) == "T")

    def send(self, number: int, *ranks: int) -> None:
        """Send a signal to ranks that run."""
        for rank in ranks:
            with suppress(ProcessLookupError):
                self._running[rank].send_signal(number)

    def kill(self, *ranks: int) -> None:
        """Kill ranks at once, stopped ones too."""
        self.send(signal.SIGKILL, *ranks)

    def end(self, *signals: signal.Signals) -> None:
        """End all ranks: the signals one after the other, each with some patience, then SIGKILL."""
        for number in signals:
            self.send(number, *self.running)
            self.kill(*self.stopped())  # these would hear of nothing else
            limit = time.monotonic() + PATIENCE[number]
            while self._running and time.monotonic() < limit:
                self.deaths()
                time.sleep(TICK)
        self.kill(*self.running)


def _state(pid: int) -> str:
    try:
        # The name of the program, in parentheses before the state, may itself contain parentheses and spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def leave_refusal(reason: str) -> bool:
    """Tell the launcher, as a rank that it has started, why the run cannot be, so that it is said once.

    The first word stands. False if the launcher cannot be reached.
    """
    try:
        _launcher_store().compare_set(REFUSAL, "", reason)
    except RuntimeError:
        return False
    return True


def first_to_say(text: str) -> bool:
    """Whether this rank is the first of those of its launcher that is about to say something."""
    try:
        return _launcher_store().add(f"topokit said {text}", 1) == 1
    except RuntimeError:
        return True


def _launcher_store() -> Store:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(*place, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=STORE_TIMEOUT))


def end_with(launcher: int, every: float = 0.2) -> None:
    """End this process when its launcher is gone: orphans would go on writing where a new start of the run writes.

    Linux does it by itself, also for a process that is stopped; elsewhere a thread looks.
    """
    if sys.platform == "linux" and os.environ.get(LAUNCHER) == str(launcher):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    Thread(target=_watch, args=(launcher, every), daemon=True).start()


def _watch(launcher: int, every: float) -> None:
    while os.getppid() == launcher:
        time.sleep(every)
    os._exit(1)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Make SIGTERM and SIGHUP what Ctrl-C is, so that a launcher that is told to end ends its ranks first."""
    if current_thread() is not main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = [(number, signal.signal(number, interrupt)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
