"""From names to schedules: one battery for every registered topology and weighting."""

import json
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest

import topokit
from topokit.averaging import prove_exact_averaging
from topokit.designer import design, design_graph, design_matrix
from topokit.errors import GraphError, InputError, ScheduleError
from topokit.graph_files import read_graph
from topokit.matrix import MixingMatrix
from topokit.registry import TOPOLOGIES, WEIGHTS, Topology
from topokit.schedule import Schedule

SIZE = 16
EXISTING = [entry.name for entry in TOPOLOGIES.values() if entry.obstacle(SIZE) is None]
PERIODIC = [name for name in EXISTING if TOPOLOGIES[name].kind != "random"]


@pytest.mark.parametrize("name", PERIODIC)
def test_claims_are_what_the_dense_product_says(name):
    schedule = design(name, SIZE)
    assert schedule.claims.period == schedule.period
    assert schedule.unchecked == ()
    if schedule.mixing == "push-pull":
        assert schedule.claims.exact_averaging is None
        return
    assert schedule.claims.doubly_stochastic is (schedule.mixing == "doubly-stochastic")
    product = np.eye(SIZE * schedule.copies)
    for W in schedule.rounds:
        product = W.to_dense() @ product
    wanted = np.hstack([np.full((SIZE, SIZE), 1 / SIZE), np.zeros((SIZE, SIZE * (schedule.copies - 1)))])
    distance = np.linalg.norm(product[:SIZE] - wanted, 2)
    assert schedule.claims.period_contraction == pytest.approx(distance, abs=1e-12)
    assert schedule.claims.exact_averaging is bool(distance < 1e-12)


@pytest.mark.parametrize("name", EXISTING)
def test_provenance_is_enough_to_design_it_again(name):
    schedule = design(name, SIZE)
    origin = dict(schedule.provenance)
    label = origin.pop("topology")
    entry, preset = TOPOLOGIES.resolve(label)
    assert entry.name == name
    assert origin.pop("topokit")
    origin.pop("connectivity", None)  # how good the choice is: a result
    assert ("weights" in origin) == entry.leaves_weights
    assert ("seed" in origin) == ("seed" in entry.parameters)
    parameters = {key: value for key, value in origin.pop("parameters").items() if key not in preset}
    assert design(label, SIZE, **parameters, **origin).content_hash == schedule.content_hash


@pytest.mark.parametrize("name", [w for w in WEIGHTS if w != "given"])
def test_every_weighting_serves_a_ring(name):
    schedule = design("ring", 6, weights=name)
    assert schedule.provenance["weights"] == name
    assert schedule.claims.symmetric is True
    assert schedule.mixing == WEIGHTS[name].mixing


def test_a_directed_graph_gets_doubly_stochastic_weights_by_default():
    graph = nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)])
    schedule = design_graph(graph)
    assert schedule.provenance["weights"] == "balanced"
    assert schedule.claims.doubly_stochastic is True
    assert design_graph(graph, "push-sum").mixing == "column-stochastic"


def test_seed_decides_what_is_drawn():
    hashes = [design("random-regular", 20, seed=seed).content_hash for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert design("random-regular", 20).content_hash == hashes[0]
    assert design("random-regular", 20, seed=np.int64(1)).provenance["seed"] == 1
    assert design("random-regular", 20, seed=np.random.default_rng(0)).provenance["seed"] is None
    assert design("ring", 20, seed=1).content_hash == design("ring", 20).content_hash


def test_parameters_are_recorded_with_their_defaults():
    assert design("random-regular", 12, degree=3).provenance["parameters"] == {"degree": 3}
    assert design("random-regular", 12).provenance["parameters"] == {"degree": 4}


def test_refusals():
    with pytest.raises(InputError, match="unknown topology 'rings'; did you mean 'ring'"):
        design("rings", 8)
    with pytest.raises(InputError, match="unknown weighting 'unifrom'; did you mean 'uniform'"):
        design("ring", 8, weights="unifrom")
    with pytest.raises(GraphError, match="hypercube needs a power of two, got 12: 8 or 16 would do"):
        design("hypercube", 12)
    with pytest.raises(InputError, match="ring has no parameter 'degree'"):
        design("ring", 8, degree=3)
    with pytest.raises(InputError, match="one-peer-exponential takes no weights"):
        design("one-peer-exponential", 8, weights="uniform")
    with pytest.raises(InputError, match=r"the number of nodes must be a whole number, got 8\.0"):
        design("ring", 8.0)
    with pytest.raises(GraphError, match="uniform weights need a regular graph"):
        design("star", 8, weights="uniform")


def test_a_parameter_without_default_must_be_given(monkeypatch):
    entry = Topology("lattice", "static", "", "", build=lambda nodes, side: nx.cycle_graph(nodes))
    monkeypatch.setitem(TOPOLOGIES._entries, "lattice", entry)
    with pytest.raises(InputError, match="lattice needs a value for 'side'"):
        design("lattice", 8)
    assert design("lattice", 8, side=2).provenance["parameters"] == {"side": 2}


def test_graphs_of_your_own():
    graph = nx.petersen_graph()
    schedule = design_graph(graph, "uniform", name="petersen")
    assert schedule.name == "petersen-10"
    # The Petersen graph has the eigenvalues 3, 1 and -2.
    assert schedule.claims.period_contraction == pytest.approx(0.5, abs=1e-12)
    assert design_graph(nx.Graph([(0, 1)])).provenance["topology"] == "graph"
    with pytest.raises(GraphError, match="disconnected"):
        design_graph(nx.empty_graph(3))


def test_matrices_of_your_own():
    W = np.array([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25], [0.0, 0.25, 0.75]])
    np.testing.assert_array_equal(design_matrix(W).round(0).to_dense(), W)
    with pytest.raises(ScheduleError, match=r"round 0: row 0 sums to 1\.5"):
        design_matrix(W + np.diag([0.5, 0, 0]))
    with pytest.raises(InputError, match="square"):
        design_matrix(W[:2])


def test_exact_weights_stay_exact_in_the_file():
    document = json.loads(design("ring", 3, weights="uniform").dumps())
    assert set(document["rounds"][0]["weight"]) == {str(Fraction(1, 3))}


def test_the_version_is_recorded():
    assert design("ring", 4).provenance["topokit"] == topokit.__version__


def test_names_of_nodes_are_kept(tmp_path):
    (tmp_path / "named.csv").write_text("b,c\na,b\nc,a\n")
    schedule = design_graph(read_graph(tmp_path / "named.csv"))
    assert schedule.provenance["labels"] == ["b", "c", "a"]
    assert Schedule.loads(schedule.dumps()).provenance["labels"] == ["b", "c", "a"]
    assert "labels" not in design_graph(nx.petersen_graph()).provenance


def test_growing_errors_are_called_that():
    W = np.array([[-1.0, 2.0], [2.0, -1.0]])
    assert (
        "can multiply errors by 3, so the values diverge"
        in prove_exact_averaging([MixingMatrix.from_matrix(W)]).sentence()
    )


@pytest.mark.parametrize("name", ["matcha", "pairwise"])
def test_names_of_a_users_graph_are_kept(name, tmp_path):
    (tmp_path / "g.csv").write_text("a,b\nb,c\nc,a\n")
    schedule = design(name, 3, graph=read_graph(tmp_path / "g.csv"))
    assert schedule.provenance["labels"] == ["a", "b", "c"]
