"""What ranks do in the tests of links."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from typing import Any

import torch
from torch.distributed import PrefixStore, ProcessGroupGloo, Store, TCPStore

from topokit_trainer.asynchronous.links import LinkBroken, Links
from topokit_trainer.peers import Peers
from topokit_trainer.world import open_store

__all__ = [
    "broken_by_partner",
    "exchanges",
    "given",
    "mismatch",
    "outcomes",
    "publish_and_stop",
    "seconds_until_broken",
    "thrown_away",
]


def both(timeout=4.0, **options):
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = open_store(60)
    peers = Peers(rank, size, store, **options)
    links = Links(peers, timeout)

    def answer(asker, question):
        if "proposal" in question:
            return {"accepted": links.accept(asker, question["proposal"])}
        return links.answer(question)

    peers.answer = answer
    for name in ("ready", "over"):
        store.set(f"{name} {rank}", "")
        if name == "ready":
            store.wait([f"ready {r}" for r in range(size)])
    return rank, store, peers, links


def agree(peers, links, rank, peer, store, number):
    """Have the lower rank ask; the higher one waits until it has been asked."""
    if rank < peer:
        answer = peers.ask(peer, {"proposal": links.propose(peer)}, 5.0)
        links.settle(peer, answer["accepted"])
        store.set(f"agreed {rank} {peer} {number}", "")
    else:
        store.wait([f"agreed {peer} {rank} {number}"])


def values_of(rank, columns, dtype):
    return torch.arange(columns, dtype=torch.float64).mul_(rank + 1).div_(8).remainder_(16).to(dtype)


def exchanges(device="cpu"):
    """Exchange tensors of several types and sizes with the other rank; give what came, and the seconds of the last."""
    rank, store, peers, links = both()
    other, results = 1 - rank, []
    for number, (columns, dtype) in enumerate(
        [(1, torch.float32), (1000, torch.float64), (777, torch.bfloat16), (3_000_000, torch.float32)]
    ):
        agree(peers, links, rank, other, store, number)
        mine = [values_of(rank, columns, dtype).to(device), torch.full((3,), float(rank), device=device)]
        begun = time.perf_counter()
        seen = links.exchange(other, number, mine)
        seconds = time.perf_counter() - begun
        expected = values_of(other, columns, dtype)
        results.append(
            (
                bool(torch.equal(seen[0].cpu(), expected)) and seen[0].dtype == dtype and seen[0].device.type == device,
                bool(torch.equal(mine[0].cpu(), values_of(rank, columns, dtype))),
                seen[1].tolist() == [float(other)] * 3,
                seconds,
            )
        )
    links.close()
    return results, len(peers._mailbox._values)


def given():
    """Rank 0 gives a state, rank 1 takes it."""
    rank, store, peers, links = both()
    agree(peers, links, rank, 1 - rank, store, 0)
    x = [torch.arange(5.0), torch.arange(600_000.0)]
    if rank == 0:
        links.give(1, 0, x, 17)
        return None
    taken, count = links.take(0, 0, [torch.zeros(5), torch.zeros(600_000)])
    return all(torch.equal(a, b) for a, b in zip(taken, x, strict=True)), count


def thrown_away():
    """One or the other throws its connection away between exchanges; give whether all exchanges came about."""
    rank, store, peers, links = both()
    names = []
    for number in range(6):
        agree(peers, links, rank, 1 - rank, store, number)
        seen = links.exchange(1 - rank, number, [torch.full((4,), float(rank))])
        assert seen[0].tolist() == [1.0 - rank] * 4
        names.append(links._links[1 - rank].name)
        if (number == 1 and rank == 0) or (number == 3 and rank == 1):
            links.forget(1 - rank)
        store.set(f"through {number} {rank}", "")  # nothing is agreed while a connection is being thrown away
        store.wait([f"through {number} {1 - rank}"])
    return names


def mismatch():
    """The ranks mean different exchanges, then tensors of different lengths, then the same; give what happened."""
    rank, store, peers, links = both()
    results = []
    for number, mine, columns in ((1, 1 + rank, 3), (5, 5, 3 + rank), (9, 9, 3)):
        agree(peers, links, rank, 1 - rank, store, number)
        try:
            results.append(links.exchange(1 - rank, mine, [torch.zeros(columns)])[0].tolist())
        except LinkBroken as error:
            results.append(str(error))
    return results


def seconds_until_broken(columns, timeout):
    """Exchange until the link breaks; give the number of exchanges, the seconds the last took, and the message."""
    rank, store, peers, links = both(timeout)
    number = 0
    while True:
        agree(peers, links, rank, 1 - rank, store, number)
        if number == 3:
            store.set(f"under way {rank}", "")
            if rank == 1:
                time.sleep(600)  # until the test ends this
        begun = time.monotonic()
        try:
            links.exchange(1 - rank, number, [torch.zeros(columns)])
        except LinkBroken as error:
            return number, time.monotonic() - begun, str(error)
        number += 1


def outcomes():
    """Rank 1 loses the last byte; give what both make of it, for a partner that has applied it and one that has not."""
    rank, store, peers, links = both(2.0)
    results = []
    for number in range(3):
        agree(peers, links, rank, 1 - rank, store, number)
        swap = links._swap

        def lossy(link, outgoing, incoming, seconds=None, number=number, swap=swap):
            if seconds is not None and seconds == 1.5 and number:  # the confirmation
                if number == 1 and rank == 0:
                    return None  # takes the byte for there, sends none
                if number == 1 or rank == 0:
                    time.sleep(1.0 if rank == 0 else 0.2)
                    raise RuntimeError("the line is cut")
            return swap(link, outgoing, incoming, seconds)

        links._swap = lossy
        try:
            links.exchange(1 - rank, number, [torch.zeros(3)])
            results.append("done")
        except LinkBroken:
            results.append("void")
        links._swap = swap
        store.set(f"done {number} {rank}", "")
        store.wait([f"done {number} {1 - rank}"])
    return results


def broken_by_partner():
    """Exchange with a partner that never comes; then with one that does."""
    rank, store, peers, links = both(4.0)
    agree(peers, links, rank, 1 - rank, store, 0)
    seconds = None
    if rank == 1:
        begun = time.monotonic()
        try:
            links.exchange(0, 0, [torch.zeros(3)], patience=0.5)
        except LinkBroken:
            seconds = time.monotonic() - begun
    store.set(f"first {rank}", "")
    store.wait([f"first {1 - rank}"])
    agree(peers, links, rank, 1 - rank, store, 1)
    return seconds, links.exchange(1 - rank, 1, [torch.full((2,), float(rank))])[0].tolist()


class StopsAfterSet(Store):
    """A store whose user stops for good when it has left its address, as a rank does that is stopped there."""

    def __init__(self, inner: Store) -> None:
        super().__init__()
        self.inner = inner

    def set(self, key: str, value: Any) -> None:
        self.inner.set(key, value if isinstance(value, str | bytes) else bytes(value))
        os.kill(os.getpid(), signal.SIGSTOP)


def publish_and_stop(port: int, name: str) -> None:
    """Begin to connect as the second of a pair, and stop."""
    options = ProcessGroupGloo._Options()
    options._timeout = timedelta(seconds=1)
    options._devices = [ProcessGroupGloo.create_device(hostname="127.0.0.1")]
    store = TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False)
    ProcessGroupGloo(StopsAfterSet(PrefixStore(name, store)), 1, 2, options)
