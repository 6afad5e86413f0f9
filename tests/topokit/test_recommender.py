"""`topokit.recommend`: the ranking follows from its rule, recomputed here from dense matrices."""

import json
import time
from math import ceil, log

import numpy as np
import pytest

from topokit import recommender as recommend_module
from topokit.designer import design
from topokit.errors import InputError
from topokit.network import Network, allreduce_seconds, round_seconds
from topokit.recommender import Candidate, Recommendation, recommend
from topokit.registry import TOPOLOGIES


def score_by_brute_force(schedule):
    if schedule.period is None:
        expected = schedule.claims.expected_contraction
        busiest = max(max(W.in_degree.max(), W.out_degree.max()) for W in map(schedule.round, range(50)))
        # Two nodes that always meet agree after one round.
        return int(busiest * (ceil(log(1e-6) / log(expected)) if expected > 1e-12 else 1))
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
    names = [TOPOLOGIES.resolve(c.name)[0].name for c in candidates]
    assert sorted(names) == sorted(entry.name for entry in TOPOLOGIES.values() if entry.ranked)
    for candidate in candidates:
        assert candidate.why
        entry, preset = TOPOLOGIES.resolve(candidate.name)
        if entry.obstacle(nodes, **preset, **candidate.parameters) is not None:
            assert not candidate.ranked
            assert "needs" in candidate.why


def test_powers_of_two_get_an_exact_one_peer_sequence():
    for nodes in (8, 16, 64):
        best, second = recommend(nodes).candidates[:2]
        for candidate in (best, second):
            assert (candidate.exact, candidate.max_degree, candidate.rounds) == (True, 1, nodes.bit_length() - 1)
        assert (best.name, second.name) == ("one-peer-hypercube", "base-2")


def test_other_sizes_get_an_exact_sequence_for_any_number_of_nodes():
    for nodes, name, score in ((12, "base-2", 5), (24, "base-2", 6), (25, "base-5", 8), (100, "base-2", 11)):
        found = recommend(nodes)
        assert found.best.exact
        assert found.best.score <= score
        base = next(c for c in found.candidates if c.name == name)
        assert base.score == score


def test_the_number_of_peers_is_the_best_that_the_limit_allows():
    chosen = {limit: next(c for c in recommend(25, max_degree=limit).candidates if c.name.startswith("base-"))
              for limit in (1, 2, 4)}  # fmt: skip
    assert {limit: c.name for limit, c in chosen.items()} == {1: "base-2", 2: "base-2", 4: "base-5"}
    assert {limit: c.score for limit, c in chosen.items()} == {1: 9, 2: 9, 4: 8}


def test_what_dsgd_cannot_use_is_out():
    candidates = {c.name: c for c in recommend(25).candidates}
    assert candidates["ceca-2p"].why == "keeps 2 copies of the model, which plain D-SGD cannot use"
    assert not candidates["ceca-2p"].ranked


def test_a_period_out_of_proportion_is_not_built():
    assert next(c for c in recommend(599).candidates if c.name == "null-cascade").why == "its period has 299 rounds"


@pytest.mark.parametrize(("max_degree", "undirected"), [(1, False), (2, False), (2, True), (3, True), (None, True)])
def test_limits_are_kept(max_degree, undirected):
    ranked = [c for c in recommend(12, max_degree=max_degree, undirected=undirected).candidates if c.ranked]
    assert ranked
    for candidate in ranked:
        for t in range(20):
            W = candidate.schedule.round(t)
            dense = W.to_dense()
            peers = (dense != 0).sum(axis=0).max() - 1
            assert max_degree is None or peers <= max_degree
            assert not undirected or (dense == dense.T).all()


def test_the_degree_of_random_regular_graphs_is_fitted_to_the_limit():
    names = {c.name: c for c in recommend(12, max_degree=3).candidates}
    assert names["random-regular"].parameters == {"degree": 3, "seed": 0}
    assert names["random-regular"].ranked


def test_where_nothing_fits_it_says_what_would():
    out = (
        Candidate("torus", {}, False, "too much", max_degree=4),
        Candidate("ring", {}, False, "too much", max_degree=2),
        Candidate("petersen", {}, False, "has 10 nodes"),
    )
    recommendation = Recommendation(12, out)
    assert recommendation.best is None
    assert recommendation.sentence() == "nothing fits: the smallest degree among what exists for 12 nodes is 2 (ring)"
    assert Recommendation(12, out[2:]).sentence() == "nothing fits: petersen has 10 nodes"


def test_the_sentence_names_the_number_and_the_runner_up():
    sentence = recommend(16).sentence()
    assert "4 from the busiest node (1 a round, 4 rounds)" in sentence
    assert "exact after 4 rounds" in sentence
    assert sentence.endswith("next: base-2 with 4 too")


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


def test_directed_families_count_as_exchanges_where_their_matrices_are_symmetric():
    ranked = [c.name for c in recommend(5, undirected=True).candidates if c.ranked]
    assert "null-cascade" in ranked
    assert "exponential" not in ranked


def test_a_network_with_shared_cards_prefers_messages_inside_hosts():
    network = Network.uniform(16, "1Gbit/s", nodes_per_host=4)
    found = recommend(16, network=network, message_bytes="100MB")
    assert found.best.name == "one-peer-hypercube"  # two of its four rounds stay inside hosts
    for candidate in found.candidates:
        if candidate.ranked:
            seconds = round_seconds(candidate.schedule, network, "100MB").seconds
            assert candidate.seconds == pytest.approx(candidate.rounds * seconds)
    seconds = [c.seconds for c in found.candidates if c.ranked and c.name != "complete"]
    assert seconds == sorted(seconds)
    assert found.all_reduce == allreduce_seconds(network, "100MB")
    assert f"or {found.all_reduce:.4g} s for a ring all-reduce" in found.sentence()


def test_seconds_need_the_size_of_a_message():
    with pytest.raises(InputError, match="seconds need both"):
        recommend(8, network=Network.uniform(8, "1Gbit/s"))
