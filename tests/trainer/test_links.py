"""Exchanges between two ranks: exact, in both directions, and over at once when the partner is gone."""

import multiprocessing
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from link_workers import (
    broken_by_partner,
    exchanges,
    given,
    mismatch,
    outcomes,
    publish_and_stop,
    seconds_until_broken,
    thrown_away,
)
from mortal_ranks import mortal_ranks
from ranks import run_ranks
from torch.distributed import TCPStore

from topokit_trainer.asynchronous.links import LinkBroken, Links

pytestmark = pytest.mark.dist


def test_both_get_the_other_s_values():
    for results, kept in run_ranks(exchanges, 2):
        assert all(seen and own_unchanged and second for seen, own_unchanged, second, _ in results)
        assert max(seconds for *_, seconds in results) < 2.0
        assert kept == 0, "closed links should leave nothing behind in the mailbox"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_too():
    for results, _ in run_ranks(exchanges, 2, "cuda", timeout=120):
        assert all(seen and own_unchanged and second for seen, own_unchanged, second, _ in results)


def test_a_whole_state_is_given():
    assert run_ranks(given, 2) == [None, (True, 17)]


def test_either_may_throw_its_connection_away():
    first, second = run_ranks(thrown_away, 2)
    assert first == second
    assert len(set(first)) == 3
    assert first[0] == first[1] != first[2] == first[3] != first[4] == first[5]


def test_partners_who_mean_different_things_notice():
    for results in run_ranks(mismatch, 2):
        assert "another exchange, or other tensors" in results[0]
        assert "another exchange, or other tensors" in results[1]
        assert results[2] == [0.0, 0.0, 0.0]


def test_a_partner_who_never_comes_costs_little():
    (_, seen), (seconds, other) = run_ranks(broken_by_partner, 2)
    assert 0.3 < seconds < 2.0
    assert (seen, other) == ([1.0, 1.0], [0.0, 0.0])


def test_both_apply_or_neither_when_the_last_byte_is_lost():
    first, second = run_ranks(outcomes, 2)
    assert first == second == ["done", "done", "void"]


@pytest.mark.parametrize("columns", [10, 3_000_000])
def test_a_killed_partner_is_noticed_at_once(columns):
    with mortal_ranks(seconds_until_broken, 2, columns, 4.0) as ranks:
        ranks.word("under way 0", "under way 1")
        time.sleep(0.2)
        ranks.signal(1, signal.SIGKILL)
        number, seconds, message = ranks.results(0)[0]
    assert number == 3
    assert seconds < 1.5
    assert "the link to rank 1 broke" in message


def test_a_stopped_partner_costs_one_time_out():
    with mortal_ranks(seconds_until_broken, 2, 3_000_000, 1.5) as ranks:
        ranks.word("under way 1")
        ranks.signal(1, signal.SIGSTOP)
        number, seconds, message = ranks.results(0)[0]
    assert number == 3
    assert 1.0 < seconds < 3.0
    assert "the link to rank 1 broke" in message


@pytest.mark.dist
@pytest.mark.parametrize("attempt", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 2))])
def test_connecting_to_a_partner_that_stops_meanwhile_ends_in_time(attempt):
    """gloo would wait five times as long as it is told, where its partner is the one to connect: each time anew."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    held = SimpleNamespace(forget=lambda prefix: None)
    peers = SimpleNamespace(
        rank=0, incarnation=0, host="127.0.0.1", store_of=lambda rank, timeout=4.0: store if timeout != 4.0 else held
    )
    links = Links(peers, timeout=1.0)
    child = multiprocessing.get_context("spawn").Process(target=publish_and_stop, args=(store.port, "a pair"))
    child.start()
    try:
        deadline = time.monotonic() + 60
        while _state(child.pid) != "T" and time.monotonic() < deadline:
            time.sleep(0.05)
        links.settle(1, "a pair")
        begun = time.monotonic()
        with pytest.raises(LinkBroken):
            links.exchange(1, 7, [torch.ones(4)])
        assert time.monotonic() - begun < 3.5
    finally:
        child.kill()
        child.join()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
