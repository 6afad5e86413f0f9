"""The search for the number of active nodes: its two runs, its choice, and what it leaves behind."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import blobs, linear, settings
from ranks import run_ranks
from workers import search_here

from topokit.designer import design
from topokit.errors import InputError
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer import Trainer
from topokit_trainer.search import plan_search, search_active
from topokit_trainer.telemetry import read_metrics

PARTS = {"model": linear, "data": blobs()}


def test_candidates_are_disjoint_and_fit():
    plan = plan_search(design("teleportation", 12, active=[4], inner="ring", seed=8))
    assert [team.active for team in plan.together.rule.teams] == [1, 2, 4]
    for t in range(20):
        holders = np.concatenate(plan.together.rule.holders(t))
        assert np.unique(holders).size == 7
    assert plan.everyone.rule.active == 12
    assert (plan.inner, plan.seed) == ("ring", 8)
    assert plan.schedule(2).content_hash == design("teleportation", 12, active=[2], inner="ring", seed=8).content_hash


def test_any_named_topology_can_be_searched_and_some_do_not_exist_for_all():
    assert plan_search(design("exponential", 8)).inner == "exponential"
    plan = plan_search(design("teleportation", 12, active=[4], inner="hypercube"))
    assert plan.everyone is None


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Schedule.cyclic([MixingMatrix.from_matrix(np.full((2, 2), 0.5))]), "needs a schedule that names its topology"),
        (design("k-peer-exponential", 9, peers=2), "cannot give k-peer-exponential its peers for other numbers"),
    ],
)
def test_schedules_that_do_not_say_how_are_refused(schedule, message):
    with pytest.raises(InputError, match=message):
        plan_search(schedule)


def test_the_best_candidate_is_that_of_separate_runs(tmp_path):
    config = settings(steps=60, lr=0.1, partition="dirichlet", out=tmp_path / "search", seed=3)
    schedule = design("teleportation", 8, active=[2], inner="ring")
    lines = []
    result = search_active(schedule, config, report=lines.append, **PARTS)
    together = design("teleportation", 8, active=[1, 2, 4], inner="ring")
    teams = Trainer(together, replace(config, out=None), **PARTS).run().final["teams"]
    everyone = Trainer(
        design("teleportation", 8, active=[8], inner="ring"), replace(config, out=None), **PARTS
    ).run().final  # fmt: skip
    losses = {int(name[2:]): row["loss"] for name, row in teams.items()} | {8: everyone["loss"]}
    assert {c.active: c.loss for c in result.candidates} == losses
    assert result.best.active == min(losses, key=losses.get)
    found = json.loads((tmp_path / "search" / "search.json").read_text())
    assert found["best"] == result.best.active
    assert Schedule.load(tmp_path / "search" / "schedule.json").rule.active == result.best.active
    state = torch.load(tmp_path / "search" / "averaged-model.pt", weights_only=True)
    model = linear().double()
    model.load_state_dict(state)
    x, y = PARTS["data"].test.tensors
    loss = torch.nn.functional.cross_entropy(model(x), y).item()
    assert loss == pytest.approx(result.best.loss, rel=1e-12)
    assert "1 + 2 + 4 of 8 nodes active, mixing by ring" in lines


def test_a_search_goes_on_where_it_was(tmp_path):
    config = settings(steps=40, lr=0.1, checkpoint_every=10, out=tmp_path / "search")
    schedule = design("teleportation", 8, active=[2], inner="ring")
    first = search_active(schedule, config, **PARTS)
    lines = []
    again = search_active(schedule, config, report=lines.append, **PARTS)
    assert again.candidates == first.candidates
    assert sum("finished already" in line for line in lines) == 2
    assert len(read_metrics(tmp_path / "search" / "together")) == 2


@pytest.mark.dist
def test_ranks_search_together(tmp_path):
    config = settings(steps=20, lr=0.1)
    schedule = design("teleportation", 8, active=[2], inner="ring")
    alone = search_active(schedule, config, **PARTS)
    for found in run_ranks(search_here, 4, schedule, replace(config, out=tmp_path / "search")):
        assert [c.active for c in found] == [c.active for c in alone.candidates]
        for here, there in zip(alone.candidates, found, strict=True):
            assert there.loss == pytest.approx(here.loss, rel=1e-10)
