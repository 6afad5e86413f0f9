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
from topokit.errors import InputError, TopokitError
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


def first_row_bursts():
    """A loss that is not finite for the first model of the seven that train side by side."""
    calls = iter(range(10**6))

    def loss(outputs, targets):
        value = torch.nn.functional.cross_entropy(outputs, targets)
        return value * float("nan") if torch.is_grad_enabled() and next(calls) == 0 else value

    return loss


def test_candidates_that_diverge_are_not_the_best(tmp_path):
    schedule = design("teleportation", 8, active=[2], inner="ring")
    out = tmp_path / "search"
    result = search_active(schedule, settings(steps=20, lr=0.1, out=out), loss=first_row_bursts(), **PARTS)
    losses = {c.active: c.loss for c in result.candidates}
    assert losses[1] is None
    assert result.best.active != 1
    found = json.loads((out / "search.json").read_text(), parse_constant=pytest.fail)
    assert found["candidates"][0]["loss"] is None
    for line in (out / "together" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_search_in_which_all_diverge_ends_in_a_sentence():
    def burst(outputs, targets):
        return torch.nn.functional.cross_entropy(outputs, targets) * (np.nan if torch.is_grad_enabled() else 1)

    with pytest.raises(TopokitError, match="no candidate ended with a finite loss"):
        search_active(design("teleportation", 8, active=[2], inner="ring"), settings(steps=3), loss=burst, **PARTS)


def test_a_search_and_a_run_do_not_share_a_folder(tmp_path):
    schedule = design("teleportation", 8, active=[2], inner="ring")
    config = settings(steps=4, out=tmp_path / "one", checkpoint_every=2)
    Trainer(schedule, config, **PARTS).run()
    before = (tmp_path / "one" / "averaged-model.pt").read_bytes()
    with pytest.raises(InputError, match="holds a run of its own; give the search another --out"):
        search_active(schedule, config, **PARTS)
    assert (tmp_path / "one" / "averaged-model.pt").read_bytes() == before
    other = replace(config, out=tmp_path / "two")
    search_active(schedule, other, **PARTS)
    with pytest.raises(InputError, match="holds a search for active nodes; give this run another --out"):
        Trainer(schedule, other, **PARTS)


def test_a_single_run_does_not_search():
    with pytest.raises(InputError, match="a search is several runs"):
        Trainer(design("teleportation", 8, active=[2]), settings(search_active=True), **PARTS)


def test_other_weights_than_the_usual_ones_cannot_be_searched():
    with pytest.raises(InputError, match="has metropolis-boyd weights; design a schedule"):
        plan_search(design("star", 8, weights="metropolis-boyd"))


@pytest.mark.dist
def test_ranks_search_together(tmp_path):
    config = settings(steps=20, lr=0.1)
    schedule = design("teleportation", 8, active=[2], inner="ring")
    alone = search_active(schedule, config, **PARTS)
    for found in run_ranks(search_here, 4, schedule, replace(config, out=tmp_path / "search")):
        assert [c.active for c in found] == [c.active for c in alone.candidates]
        for here, there in zip(alone.candidates, found, strict=True):
            assert there.loss == pytest.approx(here.loss, rel=1e-10)
