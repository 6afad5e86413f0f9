"""`topokit.report`: closed forms, and plain numpy as the second opinion."""

import json
from fractions import Fraction
from math import cos, pi

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit import measurements
from topokit.analysis import analyze
from topokit.designer import design, design_graph
from topokit.errors import ConvergenceError
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule

CLOSED_FORMS = {
    # topology: (parameters, weights, spectral gap, Fiedler value) at 16 nodes
    "ring": ({}, "uniform", 2 / 3 * (1 - cos(2 * pi / 16)), 2 - 2 * cos(2 * pi / 16)),
    "exponential": ({}, "uniform", 2 / (1 + 4), None),
    "hypercube": ({}, "uniform", 2 / (1 + 4), 2),
    "star": ({}, "metropolis-hastings", 1 / 16, 1),
    "torus": ({"rows": 4}, "uniform", 2 / 5 * (1 - cos(2 * pi / 4)), 2 - 2 * cos(2 * pi / 4)),
    "complete": ({}, "uniform", 1, 16),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_static_topologies_have_their_closed_forms(name):
    parameters, weights, gap, fiedler = CLOSED_FORMS[name]
    report = analyze(design(name, 16, weights=weights, **parameters))
    assert report.spectral_gap == pytest.approx(gap, abs=1e-12)
    assert report.slem == pytest.approx(1 - gap, abs=1e-12)
    assert report.beta == pytest.approx(1 - gap, abs=1e-12)  # all six are normal
    assert report.contraction_per_round == pytest.approx(1 - gap, abs=1e-12)
    assert report.gap_per_round == pytest.approx(gap, abs=1e-12)
    if fiedler is not None:
        assert report.fiedler_value == pytest.approx(fiedler, abs=1e-12)


def test_one_peer_exponential_of_a_power_of_two_is_proved_exact():
    report = analyze(design("one-peer-exponential", 16))
    assert report.exact_averaging.status == "proved"
    assert (report.contraction, report.contraction_per_round, report.gap_per_round) == (0.0, 0.0, 1.0)
    assert (report.worst_case_rounds, report.simulated_rounds) == (4, 4)
    assert (report.slem, report.spectral_gap, report.beta) == (None, None, None)  # of four rounds there is no one SLEM
    assert "exact after 4 rounds, proved" in str(report)


def test_one_peer_exponential_of_twelve_has_a_witness_and_its_closed_form():
    schedule = design("one-peer-exponential", 12)
    report = analyze(schedule)
    i = np.arange(1, 12)
    closed = np.abs(np.sin(pi * i * 16 / 12) / (16 * np.sin(pi * i / 12))).max()
    assert report.contraction == pytest.approx(closed, abs=1e-12)
    assert report.contraction_per_round == pytest.approx(closed**0.25, abs=1e-12)
    proof = report.exact_averaging
    assert (proof.status, proof.closed_form) == ("false", pytest.approx(closed, abs=1e-12))
    product = np.linalg.multi_dot([W.to_dense() for W in reversed(schedule.rounds)])
    assert proof.witness.value == Fraction(product[proof.witness.target, proof.witness.source])
    assert proof.witness.expected == Fraction(1, 12)


@st.composite
def schedules(draw):
    """Rounds that are random mixtures of the identity and permutations: doubly stochastic, rarely normal."""
    nodes = draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rounds = []
    for _ in range(draw(st.integers(1, 4))):
        shares = rng.dirichlet(np.ones(3))
        W = shares[0] * np.eye(nodes)
        for share in shares[1:]:
            W += share * np.eye(nodes)[rng.permutation(nodes)]
        rounds.append(W / W.sum(axis=1, keepdims=True))
    rounds[-1] = (rounds[-1] + np.full((nodes, nodes), 1 / nodes)) / 2  # connected
    return rounds


@settings(deadline=None, max_examples=40)
@given(schedules())
def test_every_number_agrees_with_plain_numpy(rounds):
    nodes = len(rounds[0])
    report = analyze(Schedule.cyclic([MixingMatrix.from_matrix(W) for W in rounds]), seed=3)
    J = np.full((nodes, nodes), 1 / nodes)

    product = np.eye(nodes)
    for W in rounds:
        product = W @ product
    assert report.contraction == pytest.approx(np.linalg.norm(product - J, 2), abs=1e-9)
    assert report.contraction_per_round == pytest.approx(report.contraction ** (1 / len(rounds)))
    for W, entry in zip(rounds, report.rounds, strict=True):
        assert entry.beta == pytest.approx(np.linalg.norm(W - J, 2), abs=1e-9)
        if entry.slem is not None:
            assert entry.slem == pytest.approx(np.abs(np.linalg.eigvals(W - J)).max(), abs=1e-6)
        off = (W != 0) & ~np.eye(nodes, dtype=bool)
        assert (entry.messages, entry.max_in_degree) == (off.sum(), off.sum(axis=1).max())
        assert entry.max_out_degree == off.sum(axis=0).max()

    def first(measure, start, limit):
        state, t = start, 0
        while measure(state) > limit * (1 + 1e-9):
            state, t = rounds[t % len(rounds)] @ state, t + 1
        return t

    assert report.worst_case_rounds == first(lambda P: np.linalg.norm(P - J, 2), np.eye(nodes), 1e-3)
    X = np.random.default_rng(3).standard_normal((nodes, 64))
    X -= X.mean(axis=0)
    assert report.simulated_rounds == first(np.linalg.norm, X, np.linalg.norm(X) / 1000)
    off = [(W != 0) & ~np.eye(nodes, dtype=bool) for W in rounds]
    assert report.in_degree.max == max(o.sum(axis=1).max() for o in off)
    assert report.out_degree.mean == pytest.approx(np.mean([o.sum(axis=0).mean() for o in off]))
    assert report.messages_per_period == sum(o.sum() for o in off)
    support = sum(off) + sum(off).T > 0
    laplacian = np.diag(support.sum(axis=1)) - support
    assert report.fiedler_value == pytest.approx(np.sort(np.linalg.eigvalsh(laplacian))[1], abs=1e-9)


def test_a_matrix_that_is_not_normal_has_no_slem_and_says_why():
    de_bruijn = np.zeros((8, 8))
    for i in range(8):
        de_bruijn[i, [2 * i % 8, (2 * i + 1) % 8]] = 0.5
    report = analyze(de_bruijn, "de Bruijn")
    assert (report.name, report.slem, report.hash) == ("de Bruijn", None, None)
    assert report.beta == pytest.approx(1)
    assert report.worst_case_rounds == 3  # W^3 = J, although every round keeps some error as it is
    assert any("not normal" in note for note in report.notes)


@pytest.mark.parametrize(
    ("matrix", "fact", "fault"),
    [
        ([[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]], "symmetric", "W[0, 1] is 0.5 and W[1, 0] is 0"),
        ([[0.5, 0.5], [0.25, 0.75]], "doubly_stochastic", "column 0 sums to 0.75"),
        ([[0.5, 0.4], [0.5, 0.5]], "doubly_stochastic", "row 0 sums to 0.9"),
        ([[-0.5, 1.5], [1.5, -0.5]], "nonnegative", "W[0, 0] is -0.5"),
        ([[1.0, 0.0], [0.0, 1.0]], "connected", "nodes 0 and 1 never hear of each other"),
    ],
)
def test_what_does_not_hold_comes_with_its_place(matrix, fact, fault):
    report = analyze(np.array(matrix))
    assert getattr(report, fact) is False
    assert fault in report.faults[fact]
    assert report.to_dict()["faults"][fact] == report.faults[fact]


def test_rates_of_plain_averaging_are_left_out_for_push_sum():
    star = np.array([[1 / 3, 0.5, 0.5], [1 / 3, 0.5, 0.0], [1 / 3, 0.0, 0.5]])
    report = analyze(Schedule.cyclic([MixingMatrix.from_matrix(star)], mixing="column-stochastic"))
    assert (report.contraction, report.exact_averaging, report.worst_case_rounds) == (None, None, None)
    assert report.messages_per_period == 4
    assert any("does not sum to 1" in note for note in report.notes)


def test_a_matrix_that_never_averages_says_so():
    report = analyze(design("ring", 6, weights="metropolis-boyd"))  # bipartite: alternating signs stay
    assert report.contraction == pytest.approx(1)
    assert report.worst_case_rounds is None
    assert any("shrinks every error" in note for note in report.notes)


def test_one_node_is_in_consensus():
    report = analyze(np.eye(1))
    assert (report.nodes, report.contraction, report.fiedler_value, report.messages_per_period) == (1, 0, None, 0)


def test_what_is_too_expensive_is_left_out_with_a_reason(monkeypatch):
    monkeypatch.setattr(measurements, "MAX_SIMULATED_WORK", 10)
    schedule = design("one-peer-hypercube", 16)
    with monkeypatch.context() as small:
        small.setattr(measurements, "MAX_PROOF_WORK", 10)
        report = analyze(schedule)
    assert (report.exact_averaging, report.simulated_rounds) == (None, None)
    assert report.contraction < 1e-12
    assert len(report.notes) == 2
    assert "exact averaging is not known" in report.notes[0]
    circulant = analyze(design("one-peer-exponential", 16))  # has a shortcut at every size
    assert (circulant.exact_averaging.status, circulant.simulated_rounds, circulant.notes) == ("proved", 4, ())


def test_an_eigensolver_that_gives_up_leaves_a_note(monkeypatch):
    def give_up(_):
        raise ConvergenceError("the eigensolver gave up")

    monkeypatch.setattr(measurements, "spectrum", give_up)
    report = analyze(design("ring", 8))
    assert report.slem is None
    assert "the spectrum of a round is not known: the eigensolver gave up" in report.notes


def test_the_json_form_is_stable_and_finite():
    keys = (
        "name nodes kind copies mixing period hash symmetric doubly_stochastic nonnegative connected slem spectral_gap "
        "beta spectrum fiedler_value contraction contraction_per_round gap_per_round exact_averaging exact_after "
        "windows expected_contraction expectation_method expectation_interval expectation_confidence "
        "effective_neighbours mixing_time transient resistance acid push_pull perron optimality in_degree out_degree "
        "messages "
        "rounds_to_shrink faults notes rounds"
    )
    for schedule in (design("ring", 6), design("one-peer-exponential", 6)):
        values = analyze(schedule).to_dict()
        assert list(values) == keys.split()
        assert set(values["exact_averaging"]) == {"status", "rounds", "sentence", "witness", "closed_form"}
        assert set(values["rounds"][0]) == {
            "slem", "spectral_gap", "beta", "messages", "max_in_degree", "max_out_degree",
        }  # fmt: skip
        assert values["messages"].keys() == {"per_period", "per_round", "per_node_and_round"}
        assert json.loads(json.dumps(values, allow_nan=False)) == values
        assert values["hash"] == schedule.content_hash


def test_the_seed_decides_the_simulation_only():
    schedule = design("random-regular", 16)
    one, two = analyze(schedule, seed=1), analyze(schedule, seed=1)
    assert one == two
    other = analyze(schedule, seed=2)
    assert (other.seed, other.contraction, other.worst_case_rounds) == (2, one.contraction, one.worst_case_rounds)


def test_a_random_schedule_reports_what_its_rules_say():
    report = analyze(design("random-matching", 12))
    assert (report.kind, report.period, report.rounds) == ("sampled", None, ())
    assert report.expected_contraction == pytest.approx(1 / 2 - 1 / 22, abs=1e-15)
    assert (report.symmetric, report.doubly_stochastic, report.exact_averaging) == (True, True, None)
    assert (report.in_degree.max, report.messages_per_node_and_round) == (1, 1.0)
    # The expected square shrinks by the factor in every round: 1000 times take about log(1e6) / log(1 / factor) rounds.
    assert report.simulated_rounds == pytest.approx(np.log(1e6) / -np.log(report.expected_contraction), rel=0.3)
    assert "drawn at random (sampled)" in str(report)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False)) == report.to_dict()


def test_two_copies_are_judged_by_the_first():
    report = analyze(design("ceca-2p", 24))
    assert (report.copies, report.mixing) == (2, "row-stochastic")
    assert (report.exact_averaging.status, report.contraction, report.exact_after) == ("proved", 0.0, 5)
    assert (report.worst_case_rounds, report.simulated_rounds) == (5, 5)
    assert (report.in_degree.max, report.messages_per_round) == (1, 24.0)


def test_a_static_graph_can_be_exact_after_several_rounds():
    report = analyze(design("de-bruijn", 27, base=3))
    assert (report.exact_averaging.status, report.exact_after) == ("false", 3)
    assert report.beta == pytest.approx(1)
    assert "exact after 3 rounds, proved (not after a period" in str(report)


def test_schedules_that_do_not_commute_say_what_another_start_costs():
    windows = analyze(design("base-2", 25)).windows
    assert windows.rounds_to_exact == 17
    assert windows.contraction == pytest.approx(0.6476, abs=1e-4)


def test_push_sum_and_push_pull_are_told_apart():
    graph = nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)])
    pushed = analyze(design_graph(graph, "push-sum"))
    assert pushed.exact_averaging is None
    # W = [[1/3, 0, 1/2], [1/3, 1/2, 0], [1/3, 1/2, 1/2]] keeps (3, 2, 4)/9.
    assert pushed.perron == pytest.approx((2 / 3, 4 / 3))
    pulled = analyze(design("tree-push-pull", 7))
    assert pulled.push_pull.status == "proved"
    assert pulled.simulated_rounds is None
