"""Ranks that wait for one another outside the network, for as long as it takes."""

import threading
import time
from datetime import timedelta

import pytest
import torch.distributed as dist
from exchange_workers import LATE, PATIENCE, wait_for_the_late
from ranks import run_ranks

from topokit.errors import TopokitError
from topokit_trainer import world as worlds
from topokit_trainer.world import World


@pytest.mark.slow  # it waits
@pytest.mark.dist
def test_ranks_wait_for_those_that_are_later_than_the_time_out():
    assert LATE > PATIENCE
    seconds = run_ranks(wait_for_the_late, 3)
    assert all(LATE - 0.5 < rank["meet"] < LATE + 5 for rank in seconds), "none leaves before all are there"
    assert LATE - 0.5 < seconds[0]["word"] < LATE + 5
    assert seconds[1]["word"] < 1, "who is not concerned does not wait"


def test_alone_there_is_nobody_to_wait_for():
    world = World()
    world.announce("word")
    world.await_word("another word")
    world.meet("here")


def open_store():
    return dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=20))


def client(server):
    return dist.TCPStore("127.0.0.1", server.port, is_master=False, timeout=timedelta(seconds=20))


def test_a_word_is_heard_once(monkeypatch):
    monkeypatch.setattr(worlds, "WAIT_SLICE", 0.05)
    server = open_store()
    speaker, listener = (World(rank, 2, store=client(server)) for rank in range(2))
    speaker.announce("word")
    listener.await_word("word")
    heard = []
    thread = threading.Thread(target=lambda: heard.append(listener.await_word("word")))
    thread.start()
    time.sleep(0.3)
    assert not heard, "the first word was forgotten when it had been heard"
    speaker.announce("word")
    thread.join(timeout=10)
    assert heard == [None]


def test_a_lost_store_ends_the_wait(monkeypatch):
    monkeypatch.setattr(worlds, "WAIT_SLICE", 0.2)
    server = open_store()
    listener = World(1, 2, store=client(server))
    del server
    with pytest.raises(TopokitError, match="the store of the run is lost: "):
        listener.await_word("never")
