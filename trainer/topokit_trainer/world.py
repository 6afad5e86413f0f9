"""The ranks of a run: who they are, which nodes live on which, and how they agree on an error.

One process without a launcher is a world of one, in which nothing below touches torch.distributed.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from topokit.errors import InputError, TopokitError
from topokit_trainer.config import TrainConfig
from topokit_trainer.connections import is_lost_contact, tcp_connections

__all__ = ["PeerLostError", "World", "open_store", "open_world"]

FAILED = "failed"
ROLL_CALL = 1.0  # seconds in which ranks whose connections broke say that they are there
AGAIN = "start the same command again to go on from the last checkpoint"
WAIT_SLICE = 5.0  # seconds in one wait for a message in the store: in between, signals are heard


class PeerLostError(TopokitError):
    """What ranks did together broke off: one is lost, or took longer than the time-out.

    Parameters
    ----------
    what : str
        What broke off.
    error : BaseException
        What PyTorch said.
    peer : int, optional
        The rank whose connection broke, where it is known.
    """

    def __init__(self, what: str, error: BaseException, peer: int | None = None) -> None:
        self.what, self.peer = what, peer
        self.reason = _reason(error)
        self.late = "imed out" in self.reason or "imeout" in self.reason
        super().__init__(self.sentence("a rank is lost" if peer is None else f"rank {peer} is lost"))

    def sentence(self, cause: str) -> str:
        """Say what broke off, and why."""
        late = ", or took longer than --timeout" if self.late else ""
        return f"{self.what} broke off: {cause}{late} ({self.reason}); {AGAIN}"


def _reason(error: BaseException) -> str:
    """Give what PyTorch said, without the place in its sources, and without its advice."""
    first = str(error).splitlines()[0]
    return re.sub(r"^\[[^\]]*\.(cc|cpp):\d+\] ", "", first).partition(". This is typically")[0]


@dataclass(frozen=True)
class World:
    """One process among the ranks of the run.

    Attributes
    ----------
    rank, size : int
    device : torch.device
        Where this rank's nodes live.
    backend : {"gloo", "nccl", None}
        None in a world of one.
    store : torch.distributed.Store or None
        What ranks leave messages in for one another, where they must not wait in the network.
    connections : frozenset of int
        File descriptors of the process group's connections.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # immutable
    backend: Literal["gloo", "nccl"] | None = None
    store: Store | None = None
    connections: frozenset[int] = frozenset()

    @property
    def staged(self) -> bool:
        """Whether messages pass through CPU memory: gloo carries no CUDA tensors point to point."""
        return self.backend == "gloo" and self.device.type == "cuda"

    def nodes_of(self, rank: int, nodes: int) -> range:
        """Give the nodes that live on a rank: contiguous, in equal numbers.

        Raises
        ------
        InputError
            If the nodes cannot be shared out evenly.

        Examples
        --------
        >>> World(rank=1, size=2).nodes_of(1, nodes=8)
        range(4, 8)
        """
        if nodes % self.size:
            fitting = [str(p) for p in range(1, nodes + 1) if nodes % p == 0]
            raise InputError(
                f"the schedule has {nodes} nodes, which {self.size} ranks cannot share evenly; "
                f"start {', '.join(fitting[:-1])} or {fitting[-1]} processes"
            )
        share = nodes // self.size
        return range(rank * share, (rank + 1) * share)

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the ranks, in place; every rank gets the result."""
        if self.backend is None:
            return tensor
        host = tensor.cpu() if self.staged else tensor
        with _together("a sum over all ranks"):
            dist.all_reduce(host)
        return tensor.copy_(host) if self.staged else tensor

    def gather(self, value: Any) -> list[Any]:
        """Give every rank the (picklable) values of all ranks."""
        if self.backend is None:
            return [value]
        values: list[Any] = [None] * self.size
        with _together("a gathering of all ranks"):
            dist.all_gather_object(values, value)
        return values

    def first(self, value: Any) -> Any:
        """Give every rank rank 0's value."""
        return self.gather(value)[0]

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.backend is not None:
            with _together("a meeting of all ranks"):
                dist.barrier()

    def announce(self, name: str) -> None:
        """Leave word for the rank that waits for this name."""
        if self.store is not None:
            self.store.set(name, "")

    def await_word(self, name: str) -> None:
        """Sleep until another rank has announced this name, however long that takes; then forget it."""
        if self.store is None:
            return
        while True:
            try:
                self.store.wait([name], timedelta(seconds=WAIT_SLICE))
            except (dist.DistStoreError, RuntimeError) as error:
                if "imeout" not in str(error) and "imed out" not in str(error):
                    raise TopokitError(f"the store of the run is lost: {str(error).splitlines()[0]}") from error
                if self.store.check([FAILED]):
                    raise TopokitError(
                        f"another rank has failed ({self.store.get(FAILED).decode()}); start the same command again to "
                        "go on from the last checkpoint"
                    ) from error
            else:
                self.store.delete_key(name)
                return

    def fail(self, error: BaseException) -> None:
        """Leave word for sleeping ranks that this one has failed; the first word stands."""
        if self.store is not None:
            with suppress(dist.DistStoreError, RuntimeError):  # rank 0 may have taken the store with it
                reason = (str(error) or type(error).__name__).splitlines()[0]
                self.store.compare_set(FAILED, "", f"rank {self.rank}: {reason}")

    def blame(self, error: PeerLostError) -> str:
        """Say which rank is to blame that something broke off: the first one that any rank has named.

        A rank that ends because another is lost breaks its own connections, and would be named by the next.
        """
        if self.store is None:
            return str(error)
        try:
            self.store.set(f"here {self.rank}", "")
            silent = [error.peer] if error.peer is not None else self._silent()
            named = " and ".join(f"rank {rank}" for rank in silent) or "a rank"
            word = self.store.compare_set(FAILED, "", f"{named} {'are' if len(silent) > 1 else 'is'} lost").decode()
        except (dist.DistError, RuntimeError):
            return error.sentence("the rank that held the store of the run is lost, or the launcher")
        return error.sentence(word)

    def _silent(self) -> list[int]:
        """Give the ranks that do not say that they are there; none where another rank has named one already."""
        assert self.store is not None
        until, missing = time.monotonic() + ROLL_CALL, [rank for rank in range(self.size) if rank != self.rank]
        while missing and time.monotonic() < until and not self.store.check([FAILED]):
            missing = [rank for rank in missing if not self.store.check([f"here {rank}"])]
            time.sleep(ROLL_CALL / 20)
        return missing

    def meet(self, name: str) -> None:
        """Sleep until all ranks have come to this point, however long that takes."""
        if self.store is None:
            return
        if self.store.add(f"{name} count", 1) == self.size:
            self.store.delete_key(f"{name} count")
            for rank in range(self.size):
                if rank != self.rank:
                    self.announce(f"{name} {rank}")
        else:
            self.await_word(f"{name} {self.rank}")

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Make an error of one rank the error of all, so that none waits for a rank that has given up.

        Raises
        ------
        TopokitError
            On every rank, with the message of the lowest rank that failed.
        """
        failure: str | None = None
        try:
            yield
        except Exception as error:
            if self.size == 1:
                raise
            expected = isinstance(error, TopokitError)
            failure = str(error) if expected else f"{type(error).__name__}: {error}"
            if not expected:  # a defect, not a mistake: this rank shows its traceback, the others need not wait
                self.gather(failure)
                raise
        failures = [(rank, text) for rank, text in enumerate(self.gather(failure)) if text]
        if failures:
            rank, text = failures[0]
            everywhere = len(failures) == self.size and len({text for _, text in failures}) == 1
            raise InputError(text if everywhere else f"rank {rank}: {text}")


@contextmanager
def _together(what: str) -> Iterator[None]:
    """Around what ranks do together: say what broke off when one of them is lost."""
    try:
        yield
    except RuntimeError as error:
        if not is_lost_contact(error):
            raise
        raise PeerLostError(what, error) from error


def _device(config: TrainConfig) -> torch.device:
    available = torch.cuda.is_available()
    name = ("cuda" if available else "cpu") if config.device == "auto" else config.device
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"--device {name!r} is no device; use cpu, cuda or cuda:N") from error
    if device.type == "cuda":
        if not available:
            raise InputError("--device cuda: this machine or this PyTorch has no CUDA; use cpu")
        if device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        elif device.index >= torch.cuda.device_count():
            raise InputError(f"--device {name}: there are {torch.cuda.device_count()} CUDA devices, numbered from 0")
    elif device.type != "cpu":
        raise InputError(f"--device {name} is not supported; use cpu or cuda")
    return device


def open_store(timeout: float) -> Store:
    """Open a connection of one's own to the store that the launcher announces in the environment.

    Without a launcher's store (plain ``env://``, as under Slurm), rank 0 holds it.
    """
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=not hosted and os.environ["RANK"] == "0",
        wait_for_workers=False,
        timeout=timedelta(seconds=timeout),
    )
    return PrefixStore(f"topokit {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


@contextmanager
def open_world(config: TrainConfig, grouped: bool = True) -> Iterator[World]:
    """Join the ranks that a launcher (torchrun, Slurm with torchrun) announces in the environment.

    Without a launcher this is a world of one, and so it is for a single rank unless a backend is asked for. The process
    group is taken down at the end, also after an error. Ranks that are not ``grouped`` have the store in common and no
    more: each can come and go without the others.
    """
    device = _device(config)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    announced = "RANK" in os.environ and "MASTER_ADDR" in os.environ
    if size == 1 and not (announced and config.backend != "auto"):
        yield World(device=device)
        return
    if not grouped:
        yield World(int(os.environ["RANK"]), size, device, None, open_store(config.timeout))
        return
    backend = config.backend
    if backend == "auto":
        local = int(os.environ.get("LOCAL_WORLD_SIZE", str(size)))
        # NCCL takes one rank a device; several ranks that share a device talk through gloo.
        backend = "nccl" if device.type == "cuda" and local <= torch.cuda.device_count() else "gloo"
    if backend == "nccl" and device.type != "cuda":
        raise InputError("--backend nccl needs --device cuda; use gloo on a CPU")
    before = tcp_connections()
    dist.init_process_group(backend, timeout=timedelta(seconds=config.timeout))
    connections = tcp_connections([int(os.environ["MASTER_PORT"])]) - before
    try:
        # A connection of its own: one that sleeps in a wait would keep the process group from its store.
        store = TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=config.timeout),
        )
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        world = World(dist.get_rank(), size, device, backend, PrefixStore(f"topokit {attempt}", store), connections)
        # NCCL wants every rank in its first collective before any goes point to point.
        world.sum(torch.zeros(1, device=device))
        try:
            yield world
        except PeerLostError as error:
            raise TopokitError(world.blame(error)) from error
        except BaseException as error:
            world.fail(error)
            raise
    finally:
        if dist.is_initialized():  # not where ranks were lost, and the others could not find together
            dist.destroy_process_group()
