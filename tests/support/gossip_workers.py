"""What ranks do in the tests of the communication thread."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import torch

from topokit_trainer.asynchronous.dynamics import Dynamics
from topokit_trainer.asynchronous.gossip import Gossip
from topokit_trainer.asynchronous.links import Links
from topokit_trainer.asynchronous.state import NodeState
from topokit_trainer.peers import Peers
from topokit_trainer.world import open_store

__all__ = ["COLUMNS", "averagings", "cut_off", "decay", "idle", "rates_of", "with_failures"]

COLUMNS = 20


def rates_of(edges, rate=1.0):
    """Give each edge its rate: the mean of what its ends would spend on it."""
    degree = np.bincount(np.ravel(edges))
    return {(i, j): rate * (1 / degree[i] + 1 / degree[j]) / 2 for i, j in edges}


class Node:
    """One rank with everything it needs to gossip."""

    def __init__(self, edges, rate, dynamics, mode, columns=COLUMNS, lost_after=3.0, timeout=4.0):
        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.store = open_store(100)
        self.peers = Peers(self.rank, self.size, self.store, lost_after=lost_after)
        self.links = Links(self.peers, timeout)
        draw = np.random.default_rng([7, self.rank, self.peers.incarnation])
        self.start = torch.from_numpy(np.random.default_rng([3, self.rank]).normal(size=columns))
        self.state = NodeState([self.start], dynamics)
        rates = [(i + j - self.rank, r) for (i, j), r in rates_of(edges, rate).items() if self.rank in (i, j)]
        self.rate = sum(r for _, r in rates)
        self.gossip = Gossip(self.peers, self.links, self.state, rates, draw, mode)

    def meet(self, name):
        self.store.set(f"{name} {self.rank}", "")
        self.store.wait([f"{name} {rank}" for rank in range(self.size)])

    def close(self):
        self.gossip.stop()
        self.links.close()
        self.peers.close()


def averagings(edges, gradients, pace, rate=1.0, accelerated=True, mode="gossip", slow=None):
    """Gossip while gradients change the state; give start, end, the sum of the steps, and counts."""
    node = Node(edges, rate, Dynamics(0.3, 0.5, 1.0) if accelerated else Dynamics(), mode)
    node.gossip.start()
    steps = torch.zeros(COLUMNS, dtype=torch.float64)
    draw = np.random.default_rng([5, node.rank])
    node.meet("start")
    count = gradients // 10 if node.rank == slow else gradients
    began = time.monotonic()
    for _ in range(count):
        step = torch.from_numpy(draw.normal(size=COLUMNS))
        time.sleep(pace * (10 if node.rank == slow else 1))
        node.state.step(lambda x, step=step: x[0].add_(step))
        steps += step
        node.state.took(pace)
        node.gossip.credit(node.rate)
    seconds = time.monotonic() - began
    node.peers.say(done=True)
    finished = node.peers.wait(lambda: all(node.peers.status_of(rank).get("done") for rank in range(node.size)), 60.0)
    time.sleep(0.1)
    node.gossip.stop()
    x, tilde = node.state.pair()
    result = {
        "finished": finished,
        "start": node.start.numpy(),
        "end": np.stack([x[0].numpy(), (tilde or x)[0].numpy()]),
        "steps": steps.numpy(),
        "gradients": count,
        "averagings": node.gossip.averagings,
        "broken": sum(node.gossip.broken.values()),
        "error": repr(node.gossip.error),
        "seconds": seconds,
        "events": [event.kind for event in node.peers.events if event.kind != "left"],
    }
    node.meet("end")
    node.close()
    return result


def idle(seconds):
    """Give the processor time of two ranks that have nothing to do, by thread and of all."""
    node = Node([(0, 1)], 1.0, Dynamics(), "gossip")
    node.gossip.start()
    node.meet("start")
    if node.rank == 1:
        node.gossip._credit = -5.0  # refuses
    else:
        node.gossip.credit(1.0)  # asks, in vain
    before = time.process_time()
    time.sleep(seconds)
    used = time.process_time() - before
    alive = threading.active_count()
    node.meet("end")
    node.close()
    return used, alive


def with_failures(gradients, pace, lost_after):
    """Gossip on a complete graph of 4 while the test stops and kills others; give the longest wait of the loop."""
    edges = [(i, j) for i in range(4) for j in range(i)]
    node = Node(edges, 1.0, Dynamics(0.3, 0.5, 1.0), "gossip", lost_after=lost_after)
    count = 0
    if node.peers.incarnation:
        assert node.peers.wait(lambda: bool(node.peers.living()), 10.0)
        x, tilde, count = node.gossip.fetch_from(min(node.peers.living()))
        node.state.adopt(x, tilde)
    fetched = count
    node.gossip.start()
    node.store.set(f"up {node.rank} {node.peers.incarnation}", "")
    longest = 0.0
    while count < gradients:
        begun = time.monotonic()
        time.sleep(pace)
        node.state.step(lambda x: None)
        node.state.took(pace)
        node.gossip.credit(node.rate)
        count += 1
        longest = max(longest, time.monotonic() - begun)
        node.store.set(f"count {node.rank}", str(count))
        if not node.store.check(["go on"]):
            count = min(count, gradients - 1)
    result = {
        "incarnation": node.peers.incarnation,
        "fetched": fetched,
        "longest": longest,
        "averagings": node.gossip.averagings,
        "broken": node.gossip.broken,
        "events": [(event.kind, event.rank) for event in node.peers.events],
        "spread": float(node.state.snapshot()[0].norm()),
        "x": node.state.snapshot()[0].numpy(),
    }
    node.close()
    return result


def cut_off(folder, seconds, lost_after, timeout):
    """Gossip for some time, in which the test cuts one off; give events, and when averagings came about."""
    edges = [(0, 1), (1, 2), (2, 3), (3, 0)]
    node = Node(edges, 1.0, Dynamics(0.3, 0.5, 1.0), "gossip", lost_after=lost_after, timeout=timeout)
    node.gossip.start()
    node.meet("start")
    begun, before, averaged, longest = time.monotonic(), 0, [], 0.0
    while time.monotonic() < begun + seconds:
        turn = time.monotonic()
        time.sleep(0.02)
        node.state.step(lambda x: None)
        node.state.took(0.02)
        node.gossip.credit(node.rate)
        longest = max(longest, time.monotonic() - turn)
        total = sum(node.gossip.averagings.values())
        if total > before:
            if not before:
                begun = time.monotonic()
                (Path(folder) / f"up {node.rank}").touch()
            averaged.append((time.time(), total - before))
            before = total
    result = {
        "events": [tuple(event) for event in node.peers.events],
        "living": sorted(node.peers.living()),
        "away": node.peers.away,
        "averaged": averaged,
        "longest": longest,
        "sum": sum(part[0].numpy() for part in node.state.pair()) - 2 * node.start.numpy(),
    }
    (Path(folder) / f"over {node.rank}").touch()
    while len(list(Path(folder).glob("over *"))) < node.size:
        time.sleep(0.02)
    node.close()
    return result


def decay(edges, pace, gradients, dynamics, columns, repetitions):
    """Gossip without gradients, in repetitions from fresh starting points; give x and x~ after each unit of time."""
    node = Node(edges, 1.0, Dynamics(*dynamics), "gossip", columns)
    node.gossip.start()
    histories, spent = [], 0.0
    for repetition in range(repetitions):
        start = torch.from_numpy(np.random.default_rng([11, node.rank, repetition]).normal(size=columns))
        node.meet(f"rest {repetition}")
        time.sleep(0.1)
        node.state.adopt([start], [start] if dynamics[0] else [])
        node.state.unit = pace
        node.meet(f"start {repetition}")
        begun, seen = time.monotonic(), []
        for k in range(gradients):
            time.sleep(max(begun + (k + 1) * pace - time.monotonic(), 0.0))
            node.gossip.credit(node.rate)
            x, _ = node.state.pair()
            seen.append(x[0].numpy())
        spent += time.monotonic() - begun
        histories.append(np.stack(seen))
        node.meet(f"done {repetition}")
    counts = sum(node.gossip.averagings.values())
    result = np.stack(histories), counts, (node.gossip.broken, node.gossip.averagings, spent)
    node.meet("end")
    node.close()
    return result
