"""`topokit.recommend`: the ranking follows from its rule, recomputed here from dense matrices."""

import json
import time

import numpy as np
import pytest

from topokit import recommender as recommend_module
from topokit.designer import design
from topokit.errors import InputError
from topokit.recommender import recommend
from topokit.registry import TOPOLOGIES


def score_by_brute_force(schedule):
    rounds = [W.to_dense() for W in schedule.rounds]
    nodes = len(rounds[0])
    off = [(W != 0) & ~np.eye(nodes, dtype=bool) for W in rounds]
    busiest = max(max(o.sum(axis=0).max(), o.sum(axis=1).max()) for o in off)
    state, t = np.eye(nodes), 0
    while np.linalg.norm(state - 1 / nodes, 2) > 1e-3 * (1 + 1e-9):
        state, t = rounds[t % len(rounds)] @ state, t + 1
    return int(busiest * t)


@pytest.mark.parametrize("nodes", [2, 3, 5, 8, 12, 16])
def test_scores_and_order_follow_from_the_rule(nodes):
    recommendation = recommend(nodes)
    ranked = [c for c in recommendation.candidates if c.ranked]
    for candidate in ranked:
        assert candidate.score == score_by_brute_force(candidate.schedule)
        built = design(candidate.name, nodes, **candidate.parameters)
        assert built.content_hash == candidate.schedule.content_hash
    costly = [c.max_degree == nodes - 1 and c.rounds == 1 and nodes > 3 for c in ranked]
    assert costly == sorted(costly)  # all-to-all exchanges come last
    scores = [c.score for c, last in zip(ranked, costly, strict=True) if not last]
    assert scores == sorted(scores)
    assert recommendation.best is ranked[0]


@pytest.mark.parametrize("nodes", [2, 7, 16, 30])
def test_every_topology_is_named_once_and_those_that_are_out_say_why(nodes):
    candidates = recommend(nodes).candidates
    assert sorted(c.name for c in candidates) == sorted(TOPOLOGIES)
    for candidate in candidates:
        assert candidate.why
        if TOPOLOGIES[candidate.name].obstacle(nodes) is not None and candidate.name != "random-regular":
            assert not candidate.ranked
            assert "needs" in candidate.why


def test_powers_of_two_get_an_exact_one_peer_sequence():
    for nodes in (8, 16, 64):
        best = recommend(nodes).best
        assert (best.name, best.exact, best.max_degree, best.rounds) == (
            "one-peer-hypercube", True, 1, nodes.bit_length() - 1,
        )  # fmt: skip
    assert recommend(16).candidates[1].name == "one-peer-exponential"  # as cheap, but one way


def test_other_sizes_get_the_one_peer_exponential():
    for nodes in (12, 24, 100):
        best = recommend(nodes).best
        assert (best.name, best.exact) == ("one-peer-exponential", False)


@pytest.mark.parametrize(("max_degree", "undirected"), [(1, False), (2, False), (2, True), (3, True), (None, True)])
def test_limits_are_kept(max_degree, undirected):
    ranked = [c for c in recommend(12, max_degree=max_degree, undirected=undirected).candidates if c.ranked]
    assert ranked
    for candidate in ranked:
        for W in candidate.schedule.rounds:
            dense = W.to_dense()
            peers = (dense != 0).sum(axis=0).max() - 1
            assert max_degree is None or peers <= max_degree
            assert not undirected or (dense == dense.T).all()


def test_the_degree_of_random_regular_graphs_is_fitted_to_the_limit():
    names = {c.name: c for c in recommend(12, max_degree=3).candidates}
    assert names["random-regular"].parameters == {"degree": 3, "seed": 0}
    assert names["random-regular"].ranked


def test_where_nothing_fits_it_says_what_would():
    recommendation = recommend(12, max_degree=1, undirected=True)
    assert recommendation.best is None
    assert recommendation.sentence() == "nothing fits: the smallest degree among what exists for 12 nodes is 2 (ring)"


def test_the_sentence_names_the_number_and_the_runner_up():
    sentence = recommend(16).sentence()
    assert "4 from the busiest node (1 a round, 4 rounds)" in sentence
    assert "exact after 4 rounds" in sentence
    assert sentence.endswith("next: one-peer-exponential with 4 too, but its messages go one way")
    assert "of all but all-to-all exchanges" in recommend(12).sentence()


def test_random_families_follow_the_seed():
    first, again, other = recommend(20, seed=1), recommend(20, seed=1), recommend(20, seed=2)
    assert [c.to_dict() for c in first.candidates] == [c.to_dict() for c in again.candidates]
    assert next(c for c in other.candidates if c.name == "erdos-renyi").parameters["seed"] == 2


def test_the_complete_graph_is_not_built_where_it_is_large(monkeypatch):
    built = next(c for c in recommend(16).candidates if c.name == "complete")
    monkeypatch.setattr(recommend_module, "MAX_COMPLETE", 10)
    known = next(c for c in recommend(16).candidates if c.name == "complete")
    assert known.schedule is None
    assert known.to_dict() == built.to_dict()


def test_the_json_form_is_plain():
    for candidate in recommend(12).candidates:
        values = candidate.to_dict()
        assert json.loads(json.dumps(values, allow_nan=False)) == values


@pytest.mark.parametrize(("nodes", "limit"), [(64, 2.0), pytest.param(1000, 20.0, marks=pytest.mark.slow)])
def test_it_is_fast(nodes, limit):
    start = time.process_time()
    recommend(nodes)
    assert time.process_time() - start < limit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nodes": 1}, "at least 2 nodes, got 1"),
        ({"nodes": 8, "max_degree": 0}, "max_degree must be at least 1, got 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        recommend(**arguments)
