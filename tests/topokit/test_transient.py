from math import inf, isinf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from topokit.designer import design
from topokit.errors import InputError
from topokit.kinds import Cyclic, Pairwise
from topokit.matrix import MixingMatrix
from topokit.metrics.transient import effective_mixing_time, transient_iterations
from topokit.topologies import one_peer_exponential

# --- effective mixing time --------------------------------------------------------------------------------------------


def dense_time(rounds):
    product = np.eye(rounds[0].nodes)
    for W in rounds:
        product = W.to_dense() @ product
    return len(rounds) / (1 - np.linalg.norm(product - 1 / len(product), 2) ** 2)


@pytest.mark.parametrize("name", ["ring", "torus", "star", "exponential", "one-peer-exponential", "grid", "path"])
@pytest.mark.parametrize("nodes", [6, 16, 21, 50])
def test_times_of_periods(name, nodes):
    schedule = design(name, nodes)
    expected = dense_time(schedule.rounds)
    for source in (schedule, schedule.rule):
        found = effective_mixing_time(source)
        assert found.value == pytest.approx(expected, rel=1e-8)
        assert found.value == found.period / found.p
        assert found.period == schedule.period
    if schedule.period == 1:
        assert effective_mixing_time(schedule.rounds[0]) == effective_mixing_time(schedule.rule)


@pytest.mark.parametrize(("name", "nodes", "period"), [("base-2", 25, 9), ("base-4", 100, 6), ("complete", 7, 1)])
def test_exact_schedules_take_their_period(name, nodes, period):
    found = effective_mixing_time(design(name, nodes))
    assert (found.value, found.period, found.p, found.method) == (period, period, 1.0, "exact averaging")
    assert effective_mixing_time(design(name, nodes).rule) == found


@pytest.mark.parametrize(("name", "nodes", "value"), [("od-equidyn", 64, 1.97), ("random-matching", 8, 1.75)])
def test_times_of_random_rounds(name, nodes, value):
    found = effective_mixing_time(design(name, nodes))
    assert found.value == pytest.approx(value, rel=2e-3)
    assert found.period == 1
    assert "expected contraction" in found.method


def test_an_event_of_pairwise_gossip_is_a_round():
    # The complete graph: E[W] - J = (1 - 1/(n - 1)) (I - J).
    edges = [(i, j) for i in range(6) for j in range(i)]
    assert effective_mixing_time(Pairwise(6, edges, [1] * 15, seed=0)).value == pytest.approx(5)


def test_one_de_bruijn_round_contracts_nothing():
    found = effective_mixing_time(design("de-bruijn", 8))
    assert (found.value, found.period, found.p) == (4, 4, 1)
    assert found.method == "norm of 4 periods"


def test_what_never_mixes_takes_for_ever():
    swap = MixingMatrix.from_matrix(np.roll(np.eye(4), 1, axis=1))
    found = effective_mixing_time(swap)
    assert isinf(found.value)
    assert (found.p, found.method) == (0, "no contraction in 64 periods")


def test_claims_are_taken_if_they_were_checked():
    rounds = one_peer_exponential(12)
    schedule = design("one-peer-exponential", 12)
    object.__setattr__(schedule, "rule", Cyclic(rounds[:1]))  # as if the claims were about something else
    claimed = effective_mixing_time(schedule)
    assert claimed.p == pytest.approx(1 - schedule.claims.period_contraction**2)
    object.__setattr__(schedule, "unchecked", ("period_contraction", "exact_averaging"))
    assert effective_mixing_time(schedule).value == pytest.approx(dense_time(rounds[:1]))


def test_a_contraction_that_is_known_is_taken():
    for name in ("ring", "random-matching", "base-2", "one-peer-exponential"):
        schedule = design(name, 12)
        claims = schedule.claims
        known = claims.period_contraction if claims.expected_contraction is None else claims.expected_contraction**0.5
        found = effective_mixing_time(schedule.rule, contraction=known)
        expected = effective_mixing_time(schedule)
        assert (found.value, found.p) == pytest.approx((expected.value, expected.p), rel=1e-12)
        assert (found.period, found.method) == (expected.period, expected.method)
    assert effective_mixing_time(design("ring", 12).rule, contraction=0.5).value == pytest.approx(4 / 3)
    with pytest.raises(InputError, match="not negative, got -1"):
        effective_mixing_time(design("ring", 12), contraction=-1)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (design("ceca-2p", 6), "one state a node, not 2 states"),
        (design("tree-push-pull", 6), "not 2 states a node"),
        (design("ring", 5, weights="push-sum"), "not column-stochastic rounds"),
        (design("teleportation", 6, active=(2,)), "TELEPORTATION"),
        (np.eye(3), "needs a schedule, got ndarray"),
    ],
)
def test_other_algorithms_have_another_bound(schedule, message):
    with pytest.raises(InputError, match=message):
        effective_mixing_time(schedule)


# --- transient iterations ---------------------------------------------------------------------------------------------


def terms(T, nodes, h, L, r0, sigma, zeta):
    """The three terms of the rate of DSGD, after T iterations."""
    return (
        np.sqrt(L * r0 * sigma**2 / (nodes * T)),
        ((L * r0) ** 2 * (sigma**2 * h + zeta**2 * h**2) / T**2) ** (1 / 3),
        L * r0 * h / T,
    )


positive = st.floats(0.05, 20)


@given(st.integers(1, 500), st.floats(1, 1e4), positive, positive, positive, st.sampled_from([0.0, 0.02, 1.0, 9.0]))
def test_the_first_term_takes_over_when_the_formula_says(nodes, h, L, r0, sigma, zeta):
    found = transient_iterations(nodes, h, smoothness=L, initial_gap=r0, noise=sigma, heterogeneity=zeta)

    def lead(log_T, together):
        first, second, third = terms(np.exp(log_T), nodes, h, L, r0, sigma, zeta)
        others = second + third if together else max(second, third)
        return np.log(first) - np.log(others)

    alone, both = (np.exp(brentq(lead, -80, 250, args=(together,))) for together in (False, True))
    assert found.non_iid * (1 - 1e-6) <= alone <= 4 * found.non_iid * (1 + 1e-6)
    # With the second term half as large as the first, both together are no larger.
    assert alone <= both <= 64 * 4 * found.non_iid * (1 + 1e-6)
    if zeta == 0:
        assert found.iid == found.non_iid == pytest.approx(alone, rel=1e-6)


@given(st.integers(2, 500), st.floats(1, 1e4), positive, st.floats(0, 5))
def test_the_same_from_the_accuracy_that_is_wanted(nodes, h, sigma, zeta):
    # T = sigma^2/(n eps^2) + (zeta h + sigma sqrt h) / eps^(3/2) + h / eps: the first is largest from this eps down.
    found = transient_iterations(nodes, h, noise=sigma, heterogeneity=zeta)
    accuracy = (sigma**2 / (nodes * (sigma * np.sqrt(h) + zeta * h))) ** 2
    assert sigma**2 / (nodes * accuracy**2) == pytest.approx((zeta * h + sigma * np.sqrt(h)) / accuracy**1.5, rel=1e-9)
    at = sigma**2 / (nodes * accuracy**2)
    assert found.non_iid * (1 - 1e-9) <= at <= 16 * found.non_iid * (1 + 1e-9)


def test_powers():
    base = transient_iterations(10, 8.0)
    assert transient_iterations(20, 8.0).iid == 8 * base.iid
    assert transient_iterations(10, 16.0).iid == 4 * base.iid
    assert transient_iterations(10, 16.0).non_iid == 16 * base.non_iid
    assert transient_iterations(10, 8.0, noise=2.0).iid == base.iid / 4
    assert transient_iterations(10, 8.0, noise=2.0).non_iid == base.non_iid / 64
    assert transient_iterations(10, 8.0, smoothness=3.0, initial_gap=2.0).iid == 6 * base.iid
    assert transient_iterations(10, 8.0, heterogeneity=0.5).non_iid == base.non_iid / 16
    assert transient_iterations(10, inf, heterogeneity=0).non_iid == inf


@pytest.mark.parametrize(("name", "iid", "non_iid"), [("ring", 7, 11), ("torus", 5, 7), ("star", 5, 7)])
def test_orders_of_growth(name, iid, non_iid):
    """The exponents of n of the literature's table, from n = 400 to n = 900."""
    small, large = (transient_iterations(n, effective_mixing_time(design(name, n)).value) for n in (400, 900))
    span = np.log(900 / 400)
    assert np.log(large.iid / small.iid) / span == pytest.approx(iid, abs=0.06)
    assert np.log(large.non_iid / small.non_iid) / span == pytest.approx(non_iid, abs=0.12)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 2.0), {}, "number of nodes"),
        ((4, 0.5), {}, "at least 1, got 0.5"),
        ((4, float("nan")), {}, "at least 1, got nan"),
        ((4, 2.0), {"noise": 0.0}, "noise must be a positive number"),
        ((4, 2.0), {"smoothness": -1.0}, "smoothness"),
        ((4, 2.0), {"initial_gap": inf}, "initial_gap"),
        ((4, 2.0), {"heterogeneity": -0.1}, "heterogeneity must be a number that is not negative"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, options, message):
    with pytest.raises(InputError, match=message):
        transient_iterations(*arguments, **options)
