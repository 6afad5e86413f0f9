"""Stragglers on purpose: how much time is lost, how, and where that means something."""

import time

import pytest
from async_workers import Drowsy
from ranks import run_ranks
from workers import train_all

from topokit.designer import design
from topokit.errors import InputError
from topokit_trainer import TrainConfig, Trainer
from topokit_trainer.pace import Pace, pace_of
from topokit_trainer.world import World

RUN = {"steps": 8, "eval_every": 8, "batch_size": 8, "checkpoint_every": 0, "device": "cpu"}


@pytest.mark.parametrize("by", ["sleep", "burn"])
def test_a_gradient_takes_as_much_longer_as_asked_for(by):
    for _ in range(5):  # a busy machine adds to it
        wall, busy = time.perf_counter(), time.process_time()
        with Pace(0.25, by):
            time.sleep(0.05)
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        assert wall >= 0.2
        if wall < 0.4 and (busy > 0.01 if by == "burn" else busy < 0.01):
            return
    raise AssertionError(f"{wall:.3f} s, of which {busy:.3f} s computing")


def test_full_speed_costs_nothing():
    before = time.perf_counter()
    with Pace():
        time.sleep(0.01)
    assert time.perf_counter() - before < 0.1


def test_an_error_is_not_paced():
    def fail():
        time.sleep(0.01)
        raise ValueError("out of order")

    before = time.perf_counter()
    with pytest.raises(ValueError, match="out of order"), Pace(0.001, "sleep"):
        fail()
    assert time.perf_counter() - before < 1


def test_nodes_that_share_a_rank_take_what_they_would_one_after_the_other():
    assert pace_of("1,0:0.1", "burn", nodes=4, local=[0]).speed == pytest.approx(0.1)
    assert pace_of("1,0:0.1", "burn", nodes=4, local=[0, 1]).speed == pytest.approx(2 / 11)
    assert pace_of("1,0:0.1", "burn", nodes=4, local=[2, 3]).speed == 1


@pytest.mark.parametrize(
    ("speeds", "message"),
    [("1,2:3", "a node of speed 3; between ranks nodes can be slowed down only"), ("1,4:0.1", "names node 4")],
)
def test_speeds_that_cannot_be_had(speeds, message):
    with pytest.raises(InputError, match=message):
        pace_of(speeds, "sleep", nodes=4, local=[0])


def test_one_process_takes_the_steps_of_its_nodes_together():
    with pytest.raises(InputError, match="--speeds means nothing to dsgd in one process"):
        Trainer(design("ring", 4), TrainConfig(speeds="1,0:0.1", **RUN))
    Trainer(design("pairwise", 4), TrainConfig(algorithm="async-gossip", speeds="1,0:0.1", **RUN), World())


@pytest.mark.dist
def test_rounds_wait_for_the_straggler():
    runs = [(design("ring", 4), TrainConfig(speeds="1,3:0.1", gradients="loop", **RUN))]
    ((_, rows),) = run_ranks(train_all, 2, runs, {"loss": Drowsy(0.01)})[0]
    # Both nodes of the second rank take 20 ms, which with one of them ten times slower are 110.
    assert rows[-1]["seconds"] > RUN["steps"] * 0.11
