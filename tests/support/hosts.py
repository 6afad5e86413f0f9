"""Hosts for tests: network namespaces of this machine, joined by a bridge, with links of a chosen rate.

Each host has an interface of its own, shaped on both of its ends by a token bucket, so that what a host sends and what
it receives are each limited to its rate, as by the network card of a real machine. Ranks are forked into the hosts.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import queue as queues
import shutil
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import ranks  # noqa: F401 (has PyTorch loaded before anything is forked)

__all__ = ["Hosts", "namespaces_allowed", "network_hosts"]

context = multiprocessing.get_context("forkserver")

INTERFACE = "eth0"
PORT = 29500  # every host has ports of its own
CLONE_NEWNET, CLONE_NEWUTS = 0x40000000, 0x04000000
BURST_SECONDS = 0.003  # a virtual machine may wake some milliseconds late, and a full bucket loses what comes then
# A segment that the kernel hands to an interface at once must fit the bucket: small ones keep bursts short at low
# rates, large ones spare the processor at high ones.
SEGMENTS = (16 * 1024, 64 * 1024)
CONGESTION = "reno"  # every kernel has it, and it keeps the links of a bridge without loss full in both directions
QUEUE = (
    8 * 1024 * 1024
)  # bytes, more than TCP keeps under way: nothing is dropped, and no time is lost to retransmission


@dataclass(frozen=True)
class Hosts:
    """Hosts that are up.

    Attributes
    ----------
    names : tuple of str
        Names of the namespaces.
    """

    names: tuple[str, ...]

    def run(
        self, function: Callable[..., Any], *arguments: Any, ranks_per_host: int = 1, timeout: float = 60.0
    ) -> list[Any]:
        """Run a function of an importable module on every rank; give their results, or raise the first failure.

        Rank r lives on host r // ranks_per_host and has the environment that torchrun would give it. All ranks are
        gone when this returns, those that are too slow killed.
        """
        size = len(self.names) * ranks_per_host
        results: Any = context.Queue()
        processes = [
            context.Process(
                target=_rank,
                args=(self.names[r // ranks_per_host], r, size, ranks_per_host, function, arguments, results),
                daemon=True,
            )
            for r in range(size)
        ]
        for process in processes:
            process.start()
        found: dict[int, Any] = {}
        deadline = time.monotonic() + timeout
        try:
            while len(found) < size:
                try:
                    number, failure, value = results.get(timeout=1.0)
                except queues.Empty:
                    missing = sorted(set(range(size)) - set(found))
                    if time.monotonic() > deadline or all(not processes[r].is_alive() for r in missing):
                        raise AssertionError(f"ranks {missing} gave nothing within {timeout} s, or ended") from None
                    continue
                if failure:
                    raise AssertionError(f"rank {number} failed:\n{failure}")
                found[number] = value
        finally:
            for process in processes:
                process.join(timeout=5 if len(found) == size else 0.1)
                if process.is_alive():
                    process.kill()
                    process.join()
            results.close()
        return [found[number] for number in range(size)]


@cache
def namespaces_allowed() -> bool:
    """Whether this machine and this user can make network namespaces with shaped links."""
    if not (shutil.which("ip") and shutil.which("tc")):
        return False
    try:
        with network_hosts([1e9]):
            return True
    except (subprocess.CalledProcessError, OSError):
        return False


@contextmanager
def network_hosts(rates: Sequence[float]) -> Iterator[Hosts]:
    """Make one host for each rate, in bits a second, and take everything down again at the end.

    Host k has the address 10.77.0.(k + 1).
    """
    prefix = f"topokit{os.getpid()}"
    switch, names = f"{prefix}s", tuple(f"{prefix}h{k}" for k in range(len(rates)))
    try:
        _ip([f"netns add {name}" for name in (switch, *names)])
        _ip(["link add bridge0 type bridge", "link set bridge0 up"], switch)
        for k, (name, rate) in enumerate(zip(names, rates, strict=True)):
            burst = rate / 8 * BURST_SECONDS
            segment = int(min(max(burst / 2, SEGMENTS[0]), SEGMENTS[1]))
            _ip([f"link add {INTERFACE} netns {name} type veth peer name port{k} netns {switch}"])
            _ip([f"link set port{k} gso_max_size {segment} master bridge0 up"], switch)
            _ip(
                [
                    f"link set {INTERFACE} gso_max_size {segment} up",
                    f"addr add 10.77.0.{k + 1}/24 dev {INTERFACE}",
                    "link set lo up",
                ],
                name,
            )
            _call("ip", "netns", "exec", name, "sysctl", "-qw", f"net.ipv4.tcp_congestion_control={CONGESTION}")
            for place, device in ((name, INTERFACE), (switch, f"port{k}")):
                _shape(place, device, rate, max(2 * segment, int(burst)))
        yield Hosts(names)
    finally:
        for name in (*names, switch):
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


def _shape(place: str, device: str, rate: float, burst: int) -> None:
    """Limit what a device sends: one token bucket, from which acknowledgements take first.

    Behind a queue full of data they would hold up what comes the other way, which the fair queues of real network
    cards prevent.
    """
    bucket = f"ceil {rate:.0f}bit burst {burst} cburst {burst} quantum 60000"
    for line in (
        f"qdisc add dev {device} root handle 1: htb default 2",
        f"class add dev {device} parent 1: classid 1:10 htb rate {rate:.0f}bit {bucket}",
        f"class add dev {device} parent 1:10 classid 1:1 htb rate {rate / 4:.0f}bit {bucket} prio 0",
        f"class add dev {device} parent 1:10 classid 1:2 htb rate {rate * 3 / 4:.0f}bit {bucket} prio 1",
        f"qdisc add dev {device} parent 1:1 handle 21: bfifo limit {QUEUE}",
        f"qdisc add dev {device} parent 1:2 handle 22: bfifo limit {QUEUE}",
        # Packets of less than 128 bytes, headers included.
        f"filter add dev {device} parent 1: protocol ip prio 1 u32 match u16 0x0000 0xff80 at 2 flowid 1:1",
    ):
        _call("tc", "-n", place, *line.split())


def _ip(commands: Sequence[str], namespace: str | None = None) -> None:
    place = ["-n", namespace] if namespace else []
    _call("ip", *place, "-batch", "-", text="\n".join(commands) + "\n")


def _call(*words: str, text: str = "") -> None:
    subprocess.run(words, input=text, text=True, check=True, capture_output=True, timeout=10)


def _rank(
    host: str, number: int, size: int, local_size: int, function: Callable[..., Any], arguments: Any, results: Any
) -> None:
    try:
        _enter(host)
        import torch

        torch.set_num_threads(1)
        os.environ.update(
            RANK=str(number),
            LOCAL_RANK=str(number % local_size),
            WORLD_SIZE=str(size),
            LOCAL_WORLD_SIZE=str(local_size),
            MASTER_ADDR="10.77.0.1",
            MASTER_PORT=str(PORT),
            GLOO_SOCKET_IFNAME=INTERFACE,
        )
        os.environ.pop("TORCHELASTIC_USE_AGENT_STORE", None)
        results.put((number, None, function(*arguments)))
    except BaseException:
        results.put((number, traceback.format_exc(), None))


def _enter(host: str) -> None:
    """Move this process, which has one thread, into a host: its network, and a host name of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{host}") as namespace:
        done = libc.setns(namespace.fileno(), CLONE_NEWNET) or libc.unshare(CLONE_NEWUTS)
    name = host.encode()
    if done or libc.sethostname(name, len(name)):
        error = ctypes.get_errno()
        raise OSError(error, f"cannot enter the host {host}: {os.strerror(error)}")
