"""Schedules of many nodes: the same hashes, files, checks and claims, in arrays."""

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.averaging import prove_exact_averaging
from topokit.designer import design
from topokit.errors import InputError, ScheduleError
from topokit.faults import symmetry_fault
from topokit.kinds import Cyclic
from topokit.matrix import MixingMatrix, quotients
from topokit.registry import TOPOLOGIES
from topokit.schedule import Schedule, canonical, claims
from topokit.schedule.canonical import canonical_text, round_in_arrays


def text_of(schedule):
    return json.dumps(schedule.content(), sort_keys=True, separators=(",", ":"), allow_nan=False)


NUMBERS = st.one_of(st.integers(0, 12), st.integers(0, 2 * 10**8), st.integers(0, 2**32))


@settings(max_examples=100, deadline=None)
@given(st.lists(NUMBERS, max_size=9), st.integers(1, 5), st.data())
def test_canonical_text_of_any_round_is_that_of_the_json_module(ids, chunk, data):
    source = np.array(ids, dtype=np.int64)
    size = len(ids)
    weight = np.array(data.draw(st.lists(st.floats(-1e300, 1e300), min_size=size, max_size=size)))
    exact = data.draw(st.booleans())
    numerator = np.array(data.draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size)), dtype=np.int64)
    denominator = np.array(data.draw(st.lists(st.integers(1, 2**62), min_size=size, max_size=size)), dtype=np.int64)
    W = MixingMatrix(2**33, source[::-1], source, weight, *((numerator, denominator) if exact else ()))
    content = {"rounds": [W, W], "nodes": 2**33, "provenance": {"rounds": [{"b": [{}], "a": "é"}]}, "teams": []}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canonical, "CHUNK", chunk)
        found = b"".join(canonical_text({**content, "rounds": [round_in_arrays(W)] * 2}))
    plain = {**content, "rounds": [canonical.round_content(W)] * 2}
    assert found.decode("ascii") == json.dumps(plain, sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize(
    "schedule",
    [
        design("torus", 400),
        design("grid", 30, weights="laplacian"),
        design("null-cascade", 15, peers=2),
        design("teleportation", 12, active=(3, 4)),
        design("matcha", 9),
        design("pairwise", 6),
        design("ceca-2p", 7),
    ],
    ids=lambda schedule: schedule.name,
)
def test_the_hash_is_that_of_the_whole_text(schedule):
    whole = b"".join(canonical_text(schedule.content(round_in_arrays)))
    assert whole.decode("ascii") == text_of(schedule)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(1, 2**63 - 1)), max_size=8))
def test_quotients_are_rounded_once(pairs):
    numerator, denominator = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    assert quotients(numerator, denominator).tolist() == [p / q for p, q in pairs]


@pytest.mark.parametrize("nodes", [9, 2**31, 4 * 10**9])  # the last one squared does not fit into 64 bits
def test_entries_are_sorted_and_repeated_ones_found_at_any_size(nodes):
    rng = np.random.default_rng(0)
    place = rng.choice(81, 30, replace=False)
    target, source = (ids * (nodes // 9) for ids in np.divmod(place, 9))
    order = np.lexsort((source, target))
    for given_in in (np.arange(30), order):  # in order, nothing has to be sorted
        W = MixingMatrix.from_entries(
            nodes, target[given_in], source[given_in], place[given_in], numerator=place[given_in], denominator=[1] * 30
        )
        np.testing.assert_array_equal(W.target, target[order])
        np.testing.assert_array_equal(W.source, source[order])
        for values in (W.weight, W.numerator):
            np.testing.assert_array_equal(values, place[order])
    twice = np.append(order, order[7])
    k = order[7]
    with pytest.raises(InputError, match=rf"target {target[k]}, source {source[k]}\) is given twice"):
        MixingMatrix.from_entries(nodes, target[twice], source[twice], place[twice])
    mine = target.copy()
    MixingMatrix.from_entries(nodes, mine[order], source[order], place[order])
    mine[0] = 1  # what was given can still be written


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.floats(0.1, 1), st.integers(0, 10**6))
def test_the_first_asymmetry_is_found(nodes, density, seed):
    rng = np.random.default_rng(seed)
    A = rng.integers(1, 3, size=(nodes, nodes)) * (rng.random((nodes, nodes)) < density)
    W = MixingMatrix.from_matrix((A + (rng.random() < 0.5) * A.T).astype(float)).to_dense()
    expected = next(((i, j) for i in range(nodes) for j in range(nodes) if W[i, j] != W[j, i]), None)
    found = symmetry_fault(MixingMatrix.from_matrix(W))
    assert (None if found is None else found[:2]) == expected


PERIODIC = [entry.name for entry in TOPOLOGIES.values() if entry.kind != "random"]


@pytest.mark.parametrize("name", PERIODIC)
def test_what_counting_messages_says_of_large_schedules_is_true_of_small_ones(name, monkeypatch):
    monkeypatch.setattr(claims, "MAX_ITERATED_ROWS", 0)
    parameters = {"offsets": (1, 3)} if name == "circulant" else {}
    for nodes in (8, 12, 34):
        if TOPOLOGIES[name].obstacle(nodes, **parameters) is not None:
            continue
        schedule = design(name, nodes, **parameters)
        if schedule.mixing == "push-pull":
            continue
        proof = prove_exact_averaging(schedule.rounds, copies=schedule.copies)
        assert schedule.claims.exact_averaging is claims.EXACT[proof.status]
        if claims._falls_short(schedule.rule):
            assert proof.status == "false"
        else:
            assert schedule.claims.period_contraction is not None


def test_counting_messages_is_a_bound_with_two_copies_too():
    pair = MixingMatrix.from_entries(2, [0, 0, 1, 1], [0, 1, 0, 1], [0.5] * 4)
    assert not claims._falls_short(Cyclic([pair]))
    assert claims._falls_short(Cyclic([MixingMatrix.from_matrix(np.eye(2)), pair][:1]))
    # Copies of 1 node: row 0 needs one value only.
    assert not claims._falls_short(Cyclic([pair], copies=2, mixing="row-stochastic"))


def test_a_large_file_is_written_read_and_checked_in_seconds(tmp_path):
    schedule = design("grid", 40_000)
    assert schedule.claims.exact_averaging is False
    assert schedule.claims.period_contraction is None
    started = time.process_time()
    schedule.save(tmp_path / "grid.npz")
    loaded = Schedule.load(tmp_path / "grid.npz")
    assert time.process_time() - started < 2
    assert loaded.content_hash == schedule.content_hash
    with np.load(tmp_path / "grid.npz") as archive:
        assert {archive[name].dtype for name in archive.files if name != "header"} == {np.dtype(np.int32)}
    W = schedule.round(0)
    claimed = claims.Claims(period_contraction=0.5, symmetric=True)
    assert Schedule.cyclic([W], claims=claimed).unchecked == ("period_contraction",)
    with pytest.raises(ScheduleError, match="claims exact averaging after 1 round, but in the product of round 0"):
        Schedule.cyclic([W], claims=claims.Claims(exact_averaging=True))


def test_whole_numbers_of_more_than_32_bits_survive_the_archive(tmp_path):
    q = 2**40
    W = MixingMatrix.from_entries(
        2,
        [0, 0, 1, 1],
        [0, 1, 0, 1],
        [1 / q, (q - 1) / q, (q - 1) / q, 1 / q],
        numerator=[1, q - 1, q - 1, 1],
        denominator=[q] * 4,
    )
    schedule = Schedule.cyclic([W])
    schedule.save(tmp_path / "wide.npz")
    assert Schedule.load(tmp_path / "wide.npz").round(0).fractions() == W.fractions()


def test_nearest_sizes_are_looked_for_so_far_and_no_further():
    assert TOPOLOGIES["hypercube"].nearest(1_000_003) == [2**19, 2**20]
    tried = []
    entry = TOPOLOGIES["ring"].__class__(
        "none", "static", "", "", build=lambda nodes: None, obstacle=lambda nodes: tried.append(nodes) or "never"
    )
    assert entry.nearest(10**9) == []
    assert len(tried) <= 1_000_000
    assert all(abs(nodes - 10**9) <= 500_000 for nodes in (tried[0], tried[-1], min(tried)))
