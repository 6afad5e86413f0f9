"""What ranks do in the tests of peers."""

from __future__ import annotations

import os
import time

import torch

from topokit_trainer.peers import Peers
from topokit_trainer.world import open_store

__all__ = ["watch"]


def watch(lost_after, burning=()):
    """Look at the others until the test says so, some in a loop that never sleeps; give what was seen."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = open_store(60)
    peers = Peers(rank, size, store, lost_after=lost_after, answer=lambda asker, question: {"of": rank, **question})
    store.set(f"up {rank} {peers.incarnation}", "")
    count, values = 0, torch.zeros(100, 100)
    while not store.check(["end"]):
        pause = time.monotonic() + 0.05
        while time.monotonic() < pause:
            if rank in burning:
                values = values @ values + sum(range(100))
            else:
                time.sleep(0.01)
        count += 1
        peers.say(count=count)
    result = {
        "incarnation": peers.incarnation,
        "count": count,
        "events": list(peers.events),
        "living": sorted(peers.living()),
        "incarnations": [peers.incarnation_of(r) for r in range(size)],
        "away": peers.away,
        "counts": [peers.status_of(r).get("count") for r in range(size)],
        "answers": [peers.ask(r, {"to": r}, 1.0) for r in range(size) if r != rank and r in peers.living()],
    }
    store.set(f"asked {rank}", "")
    store.wait([f"asked {r}" for r in range(size) if r == rank or r in peers.living()])
    peers.close()
    return result
