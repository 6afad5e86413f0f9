import base64

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from topokit.designer import design_graph
from topokit.errors import GraphError, ScheduleError
from topokit.optimal import Certificate, optimal_weights, weight_problem
from topokit.optimal.certificate import dual_bound, width
from topokit.optimal.recheck import check_optimality, summary
from topokit.schedule import Schedule


@st.composite
def problems(draw):
    """Draw small problems of every sort."""
    nodes = draw(st.integers(3, 9))
    graph = nx.gnp_random_graph(nodes, draw(st.sampled_from([0.4, 0.6, 0.9])), seed=draw(st.integers(0, 10_000)))
    assume(nx.is_connected(graph))
    objective = draw(st.sampled_from(["fdla", "fmmc"]))
    self_loops = draw(st.booleans()) or nx.is_bipartite(graph)
    upper = draw(st.sampled_from([None, 0.2, 0.5])) if self_loops else None
    try:
        problem = weight_problem(graph, objective, upper=upper, self_loops=self_loops)
        return problem, optimal_weights(problem, width=1e-8)
    except GraphError as error:
        assume("self-loops" not in str(error))
        raise


@settings(max_examples=40, deadline=None)
@given(problems(), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_no_dual_point_proves_more_than_is_true(case, seed, noise):
    problem, best = case
    rng = np.random.default_rng(seed)
    n = problem.nodes
    anything = Certificate(
        problem, rng.standard_normal((n, 3)), rng.standard_normal((n, 3)), rng.standard_normal(n) * noise
    )
    assert anything.bound(best.slem) <= best.slem
    # Near the optimum, where bounds are tight: they must not pass it.
    shape = best.certificate.left.shape
    near = Certificate(
        problem,
        best.certificate.left + 1e-3 * noise * rng.standard_normal(shape),
        best.certificate.right + 1e-3 * noise * rng.standard_normal(shape),
        best.certificate.prices + 1e-3 * noise * rng.standard_normal(n),
    )
    assert near.bound(best.slem) <= best.slem


@settings(max_examples=30, deadline=None)
@given(problems(), st.integers(0, 2**32 - 1))
def test_no_weights_within_the_limits_are_better_than_the_bound(case, seed):
    problem, best = case
    assert width(best.slem, best.lower) <= 1e-6
    assume(problem.self_weights != "zero")
    rng = np.random.default_rng(seed)
    for step in (1e-4, 1e-2, 0.1):
        weights = best.weights + step * rng.standard_normal(len(best.weights))
        if problem.nonnegative:
            weights = np.maximum(weights, 0)
        if problem.upper is not None:
            weights = np.minimum(weights, problem.upper)
        if problem.self_weights == "nonnegative":
            weights /= max(1, problem.node_sums(weights).max())
        assert problem.excess(weights) <= 1e-12
        W = problem.matrix(weights).to_dense()
        assert np.linalg.norm(W - 1 / problem.nodes, 2) >= best.lower - 1e-12


def test_a_certificate_survives_its_file():
    found = optimal_weights(nx.random_regular_graph(3, 20, seed=1), "fmmc")
    again = Certificate.from_dict(20, found.certificate.to_dict())
    assert again.bound(found.slem) == found.certificate.bound(found.slem) == found.lower
    assert again.problem.edges.tolist() == found.edges.tolist()


def test_large_certificates_are_stored_in_single_precision_and_lose_little(monkeypatch):
    found = optimal_weights(nx.karate_club_graph(), "fdla")
    monkeypatch.setattr("topokit.optimal.certificate.LARGE", 100)
    stored = found.certificate.to_dict()
    assert stored["left"]["type"] == "<f4"
    assert 0 <= found.lower - Certificate.from_dict(34, stored).bound(found.slem) < 1e-6


@pytest.mark.parametrize("value", [0.1, 0.3, 1.1, 1e10 / 3])
@pytest.mark.parametrize("nodes", [5, 7, 10, 13, 49])
def test_constant_columns_prove_nothing(nodes, value):
    # Their mean in floating point is not the number itself: what is left over must not count.
    problem = weight_problem(nx.path_graph(nodes), "fdla")
    columns = np.full((nodes, 2), value) + np.arange(2) * 1e-300
    assert Certificate(problem, columns, columns, np.zeros(nodes)).bound(0.99) < 1e-9


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-200, 1e-160, 1.0, 1e150, 1e300]),
    st.sampled_from([1e-200, 1.0, 1e160]),
    st.sampled_from([0.0, 1.0, 1e16]),
)
def test_no_scale_proves_more_than_is_true(seed, left, right, mean):
    nodes = 9
    optimum = np.cos(np.pi / nodes)
    problem = weight_problem(nx.path_graph(nodes), "fdla")
    rng = np.random.default_rng(seed)
    slow = np.cos(np.pi * (np.arange(nodes) + 0.5) / nodes)  # the eigenvector of the optimal weights
    columns = np.stack((slow + mean, rng.standard_normal(nodes), np.full(nodes, mean)), axis=1)
    with np.errstate(over="ignore"):  # infinite columns must not count either
        forged = Certificate(problem, columns * left, columns * right * np.array([1, 1e-3, 1]), np.zeros(nodes))
    assert forged.bound(optimum) <= optimum


@pytest.fixture
def schedule():
    return design_graph(nx.petersen_graph(), "fmmc")


def changed(schedule, **changes):
    stored = dict(schedule.provenance["optimality"])
    certificate = dict(stored["certificate"]) | changes.pop("certificate", {})
    return Schedule.of(
        schedule.rule,
        provenance={**schedule.provenance, "optimality": {**stored, "certificate": certificate} | changes},
    )


def test_a_schedule_file_proves_its_weights_optimal(schedule, tmp_path):
    schedule.save(tmp_path / "petersen.json")
    proof = check_optimality(Schedule.load(tmp_path / "petersen.json"))
    assert proof.slem == pytest.approx(3 / 7, abs=1e-12)
    assert proof.lower == pytest.approx(3 / 7, abs=1e-9)
    assert "no nonnegative weights on these 15 edges" in proof.sentence()


def test_a_corrupted_certificate_is_rejected(schedule):
    stored = schedule.provenance["optimality"]["certificate"]["left"]
    values = np.frombuffer(base64.b64decode(stored["base64"]), dtype="<f8").copy()
    values[3] += 0.1
    text = base64.b64encode(values.tobytes()).decode()
    with pytest.raises(
        ScheduleError, match=r"rejected: the file claims .* below 0\.42857\d*, but .* no more than 0\.\d"
    ):
        check_optimality(changed(schedule, certificate={"left": {**stored, "base64": text}}))


def test_a_bound_that_the_certificate_does_not_prove_is_rejected(schedule):
    with pytest.raises(ScheduleError, match=r"rejected: the file claims that no weights have a SLEM below 0\.4286"):
        check_optimality(changed(schedule, lower=0.4286))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"certificate": {"left": {"type": "<f8", "columns": 1, "base64": "AAAA"}}}, "malformed"),
        ({"certificate": {"left": {"type": ">i4", "columns": 1, "base64": ""}}}, "stored as <f8 or <f4"),
        ({"certificate": {"signs": [0]}}, "signs are 1 or -1"),
        ({"certificate": {"self_weights": "any"}}, "free, nonnegative or zero"),
        ({"certificate": {"edges": [[0, 10]]}}, "leaves the nodes 0 to 9"),
        ({"certificate": {"edges": [[0, 1], [0, 1]]}}, "lists an edge twice"),
        ({"certificate": {"edges": [[0, 1]]}}, "without the edge"),
        ({"certificate": {"edges": [[0, 1, 2]]}}, "malformed"),
        ({"certificate": {"upper": [0.1] * 15}}, "leave by"),
        ({"certificate": {"nonnegative": "false"}}, "true or false"),
        ({"certificate": {"prices": {"type": "<f8", "columns": 0, "base64": ""}}}, "prices have one column"),
        ({"lower": 10**400}, "no number for lower"),
        ({"slem": 10**400}, "no number for slem"),
        ({"certificate": {"upper": [0.1]}}, "as many bounds as edges"),
        ({"lower": None}, "no number for lower"),
        ({"slem": 0.4}, "claims a SLEM of 0.4"),
    ],
)
def test_a_malformed_certificate_says_what_is_wrong(schedule, change, message):
    with pytest.raises(ScheduleError, match=message):
        check_optimality(changed(schedule, **change))


def test_missing_parts_are_named(schedule):
    stored = dict(schedule.provenance["optimality"])
    certificate = {key: value for key, value in stored["certificate"].items() if key != "prices"}
    broken = Schedule.of(schedule.rule, provenance={"optimality": {**stored, "certificate": certificate}})
    with pytest.raises(ScheduleError, match="has no prices"):
        check_optimality(broken)


def test_the_certificate_of_another_matrix_is_refused(schedule):
    other = design_graph(nx.petersen_graph(), "metropolis-hastings")
    with pytest.raises(ScheduleError, match="its matrix has"):
        check_optimality(Schedule.of(other.rule, provenance=schedule.provenance))


def test_summaries_leave_the_numbers_out(schedule):
    assert "certificate" not in summary(schedule.provenance)["optimality"]
    assert check_optimality(design_graph(nx.petersen_graph())) is None


def test_prices_of_the_wrong_sign_do_not_count():
    problem = weight_problem(nx.path_graph(3), "fmmc")
    worth = np.array([0.5, 0.5])
    honest = dual_bound(problem, 0.8, worth, np.zeros(3), 0.9)
    assert dual_bound(problem, 0.8, worth, np.full(3, -10.0), 0.9) == honest
