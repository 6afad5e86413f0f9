from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.designer import design
from topokit.errors import InputError
from topokit.metrics.active_nodes import CandidatePlan, candidate_plan, optimal_active_nodes
from topokit.metrics.inner_mixing import RULES, inner_mixing
from topokit.registry import TOPOLOGIES
from topokit.topologies.teleportation import search_plan, teleportation_topology

INNER = ["ring", "torus", "complete", "exponential", "hypercube", "one-peer-exponential", "base-2", "base-3", "star"]


@cache
def dense_time(name, k):
    """tau / p of a topology of k nodes by a dense product, infinite where there is none."""
    if k == 1:
        return 1.0
    if not TOPOLOGIES.exists(name, k):
        return np.inf
    rounds = design(name, k).rounds
    product = np.eye(k)
    for W in rounds:
        product = W.to_dense() @ product
    return len(rounds) / (1 - np.linalg.norm(product - 1 / k, 2) ** 2)


@pytest.mark.parametrize("name", [*INNER, "d-equistatic", "null-cascade", "one-peer-hypercube", "erdos-renyi", "path"])
def test_mixing_times_of_every_size(name):
    found = inner_mixing(name, (64 if name in RULES else 50) if name in INNER else 16)
    expected = [dense_time(name, k) for k in range(1, found.times.size + 1)]
    assert found.times == pytest.approx(np.array(expected), rel=1e-7)
    assert found.missing == ()


@pytest.mark.parametrize(("name", "sizes"), [("exponential", (257, 999)), ("torus", (182, 960)), ("ring", (555, 1000))])
def test_closed_forms_of_larger_sizes(name, sizes):
    times = inner_mixing(name, 1000).times
    for k in sizes:
        assert times[k - 1] == pytest.approx(dense_time(name, k), rel=1e-7)


def test_without_time_some_sizes_are_left_out():
    found = inner_mixing("star", 200, max_work=2e5)
    known = np.flatnonzero(np.isfinite(found.times)) + 1
    assert sorted([*known, *found.missing]) == list(range(1, 201))
    # Powers of two come first, then the small ones.
    assert {1, 2, 4, 8, 16, 3, 5} <= set(known.tolist())
    assert 150 in found.missing


def plain(nodes, name, T, L, r0, sigma, zeta):
    """The lowest bound by trying every k, in plain Python."""
    best = None
    for k in range(1, nodes + 1):
        h = dense_time(name, k)
        if h == np.inf:
            continue
        share = 1 - (k - 1) / (nodes - 1)
        bound = (
            (L * r0 * (sigma**2 + share * zeta**2) / (k * T)) ** 0.5
            + (L**2 * r0**2 * max(h - 1, 0.0) * (sigma**2 + zeta**2) / T**2) ** (1 / 3)
            + L * r0 * h / T
        )
        if best is None or bound < best[0] * (1 - 1e-9):
            best = bound, k
    return best


@pytest.mark.parametrize("name", INNER)
@pytest.mark.parametrize(
    ("nodes", "T", "L", "r0", "sigma", "zeta"),
    [(50, 10**5, 1, 1, 1, 1), (37, 3000, 5, 2, 0.3, 2), (20, 10**9, 1, 1, 1, 0), (9, 50, 1, 10, 1, 1)],
)
def test_the_best_of_all(name, nodes, T, L, r0, sigma, zeta):
    found = optimal_active_nodes(
        nodes, name, iterations=T, smoothness=L, initial_gap=r0, noise=sigma, heterogeneity=zeta
    )
    bound, best = plain(nodes, name, T, L, r0, sigma, zeta)
    assert (found.bound, found.active) == (pytest.approx(bound, rel=1e-6), best)
    place = found.counts.tolist().index(best)
    assert found.bounds[place] == found.bound == found.bounds.min()
    assert found.mixing_times[place] == pytest.approx(dense_time(name, best))
    tried = [*found.plan.together, *([] if found.plan.alone is None else [found.plan.alone])]
    bounds = dict(zip(found.counts.tolist(), found.bounds.tolist(), strict=True))
    assert bounds[found.candidate] == min(bounds[k] for k in tried)
    assert sum(found.plan.together) <= nodes
    teleportation_topology(nodes, active=found.plan.together, inner=name)  # the search can be made
    teleportation_topology(nodes, active=(found.active,), inner=name)


def test_one_matrix_has_the_bound_as_it_is_known():
    """With h = 1/p the second term is that of (1 - p)/p."""
    found = optimal_active_nodes(50, "ring", iterations=10**4)
    W = design("ring", 12).rounds[0].to_dense()
    p = 1 - np.linalg.norm(W - 1 / 12, 2) ** 2
    expected = np.sqrt((1 + 38 / 49) / (12 * 10**4)) + np.cbrt((1 - p) / p * 2 / 10**8) + 1 / (p * 10**4)
    assert found.bounds[11] == pytest.approx(expected, rel=1e-12)


def balance(name, T, nodes=2000):
    """The k at which averaging and mixing weigh the same, by the mixing times themselves."""
    found = optimal_active_nodes(nodes, name, iterations=T, heterogeneity=0)
    averaging = np.sqrt(1 / (found.counts * T))
    mixing = np.cbrt((found.mixing_times - 1) / T**2)
    return found, int(found.counts[np.flatnonzero(mixing <= averaging).max()])


def test_ring_after_ten_million_iterations():
    found, balanced = balance("ring", 10**7)
    assert balanced == 25
    assert found.closed_form == 26  # 25.5, rounded up
    assert found.active == 18  # the derivative of k^(-1/2) + k^(2/3) vanishes a factor (3/4)^(6/7) earlier
    assert found.candidate == 16


@pytest.mark.parametrize(("name", "power", "rate"), [("ring", 1 / 7, -4 / 7), ("torus", 1 / 5, -3 / 5)])
def test_growth_with_the_iterations(name, power, rate):
    nodes = 6000
    iterations = np.logspace(9, 14, 6) if name == "ring" else np.logspace(10, 15, 6)
    found = [optimal_active_nodes(nodes, name, iterations=int(T), heterogeneity=0) for T in iterations]
    if name == "torus":  # near-squares alone, where the law holds: other numbers have longer sides
        square = [np.isin(f.counts, np.arange(1, 78) ** 2) for f in found]
        active = [f.counts[s][f.bounds[s].argmin()] for f, s in zip(found, square, strict=True)]
        lowest = [f.bounds[s].min() for f, s in zip(found, square, strict=True)]
    else:
        active, lowest = [f.active for f in found], [f.bound for f in found]
    assert max(active) < nodes
    slope = np.polyfit(np.log(iterations), np.log(active), 1)[0]
    assert slope == pytest.approx(power, abs=0.015)
    assert np.polyfit(np.log(iterations), np.log(lowest), 1)[0] == pytest.approx(rate, abs=0.01)
    closed = [f.closed_form for f in found]
    assert np.polyfit(np.log(iterations), np.log(closed), 1)[0] == pytest.approx(power, abs=0.01)
    assert found[0].growth == f"T^(1/{round(1 / power)})"
    assert found[0].rate == f"T^({round(rate * (7 if name == 'ring' else 5))}/{7 if name == 'ring' else 5})"


@pytest.mark.parametrize("name", INNER)
def test_with_time_enough_all_nodes_are_active(name):
    assert optimal_active_nodes(64, name, iterations=10**15).active == 64
    assert optimal_active_nodes(64, "complete", iterations=1).active == 64


@given(
    st.sampled_from(["ring", "torus", "exponential", "base-2"]),
    st.sampled_from([4, 30, 90]),
    st.floats(0, 9),
    st.floats(0.1, 5),
    st.floats(0.1, 5),
    st.floats(0, 5),
)
@settings(max_examples=25, deadline=None)
def test_more_iterations_never_want_fewer_nodes(name, nodes, magnitude, pull, noise, heterogeneity):
    T = int(10**magnitude)
    how = {"smoothness": pull, "noise": noise, "heterogeneity": heterogeneity}
    few, many = (optimal_active_nodes(nodes, name, iterations=t, **how) for t in (T, 30 * T))
    assert few.active <= many.active
    assert many.bound < few.bound
    # L and r0 come in by their product alone, and only relative to T.
    other = optimal_active_nodes(nodes, name, iterations=T, initial_gap=pull, noise=noise, heterogeneity=heterogeneity)
    assert (other.active, other.bound) == (few.active, pytest.approx(few.bound, rel=1e-12))


@pytest.mark.parametrize("nodes", [1, 2, 3, 25, 31, 1000])
def test_plan(nodes):
    assert candidate_plan(nodes) == CandidatePlan(search_plan(nodes), nodes)


def test_one_node():
    found = optimal_active_nodes(1, iterations=100)
    assert (found.active, found.candidate, found.plan) == (1, 1, CandidatePlan((1,), 1))


def test_where_the_inner_topology_is_missing():
    found = optimal_active_nodes(100, "torus", iterations=10**6)
    assert {2, 3, 5, 7, 97}.isdisjoint(found.counts.tolist())
    assert found.plan == CandidatePlan((1, 4, 8, 16, 32), 100)
    found = optimal_active_nodes(100, "hypercube", iterations=10**6)
    assert found.counts.tolist() == [1, 2, 4, 8, 16, 32, 64]
    assert found.plan.alone is None
    assert "then" not in dict(found.lines())["search"]
    assert found.growth == "T^(1/3), up to logarithms"
    assert found.closed_form is None


def test_what_was_left_out_is_said(monkeypatch):
    import topokit.metrics.active_nodes as module

    monkeypatch.setattr(module, "inner_mixing", lambda name, nodes, seed: inner_mixing(name, nodes, seed, 2e5))
    found = optimal_active_nodes(200, "star", iterations=1000)
    assert found.left_out
    text = dict(found.lines())["note"]
    assert text.startswith(f"{len(found.left_out)} numbers from {found.left_out[0]} to {found.left_out[-1]} left out")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0,), {"iterations": 5}, "number of nodes must be at least 1"),
        ((5,), {"iterations": 0}, "number of iterations must be at least 1"),
        ((5,), {"iterations": 5, "noise": -1.0}, "noise must be a number that is not negative"),
        ((5,), {"iterations": 5, "smoothness": 0.0}, "smoothness must be a positive number"),
        ((5,), {"iterations": 5, "noise": 0.0, "heterogeneity": 0.0}, "are both 0"),
        ((3, "torus"), {"iterations": 5}, "torus mixes for no number of active nodes from 2 to 3"),
        ((5, "circle"), {"iterations": 5}, "unknown topology 'circle'"),
        ((5, "od-equidyn"), {"iterations": 5}, "drawn at random"),
        ((8, "ceca-2p"), {"iterations": 5}, "average one value a node"),
        ((8, "circulant"), {"iterations": 5}, "circulant mixes for no number"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, options, message):
    with pytest.raises(InputError, match=message):
        optimal_active_nodes(*arguments, **options)
