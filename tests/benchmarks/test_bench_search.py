"""The benchmark of learned topologies: its baselines are as good as they can be, and it believes nobody's figures."""

import json
import sys
import time
from itertools import combinations
from math import ceil, log, sqrt
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pytest
import search_baselines
from bench_search import Cache, bench, judge, learn_with, main, table, unmet
from search_baselines import (
    anneal,
    best_circulant,
    best_directed,
    best_named,
    edges_of,
    random_regular,
    regular_slem,
)


def spectral_slem(graph):
    mu = np.sort(nx.laplacian_spectrum(graph))
    return (mu[-1] - mu[1]) / (mu[-1] + mu[1]) if mu[1] > 1e-9 else 1.0


def found(edges, value, **other):
    return SimpleNamespace(**{"edges": edges, "value": value, "method": "m", "bound": None} | other)


def search_of_one(nodes, degree, seed, seconds, on_better):
    """Give networkx's random regular graph as if it had been searched for."""
    graph = nx.random_regular_graph(degree, nodes, seed=seed)
    on_better(0.0, spectral_slem(graph))
    return found(edges_of(graph), spectral_slem(graph))


@pytest.mark.parametrize(("nodes", "degree"), [(20, 3), (202, 3), (300, 6)])
def test_slem_of_random_regular_graphs(nodes, degree):
    for seed in range(3):
        graph = nx.random_regular_graph(degree, nodes, seed=seed)
        assert regular_slem(graph, degree) == pytest.approx(spectral_slem(graph), abs=1e-9)
    assert regular_slem(nx.disjoint_union(graph, graph), degree) == 1.0


def test_the_best_of_random_regular_graphs():
    best = random_regular(12, 3, 30)
    every = [spectral_slem(nx.random_regular_graph(3, 12, seed=seed)) for seed in range(30)]
    assert best.value == pytest.approx(min(every))
    assert every[best.seed] == pytest.approx(best.value)
    assert best.median == pytest.approx(np.median(every))


@pytest.mark.parametrize("nodes", [5, 8, 12, 15, 16, 18])
def test_the_best_circulant(nodes):
    half = (nodes - 1) // 2
    for degree in range(2, nodes):
        opposite = (nodes // 2,) * (degree % 2)
        if degree % 2 and nodes % 2:
            assert best_circulant(nodes, degree) == (1.0, ())
            continue
        every = combinations(range(1, half + 1), degree // 2)
        least = min(spectral_slem(nx.circulant_graph(nodes, offsets + opposite)) for offsets in every)
        value, offsets = best_circulant(nodes, degree)
        assert value == pytest.approx(least, abs=1e-12)
        assert value == pytest.approx(spectral_slem(nx.circulant_graph(nodes, offsets)), abs=1e-12)
        assert set(dict(nx.circulant_graph(nodes, offsets).degree).values()) == {degree}


def test_circulants_by_descent(monkeypatch):
    exhaustive = [best_circulant(64, degree)[0] for degree in (4, 5, 6)]
    monkeypatch.setattr(search_baselines, "CIRCULANTS", 0)
    descended = [best_circulant.__wrapped__(64, degree)[0] for degree in (4, 5, 6)]
    assert all(least - 1e-12 <= value <= 1.05 * least for least, value in zip(exhaustive, descended, strict=True))


@pytest.mark.parametrize(
    ("nodes", "degree", "value", "name"),
    [
        (10, 3, 3 / 7, "petersen"),
        (16, 4, 0.575111, "circulant offsets"),
        (7, 2, 0.669362, "ring"),
        (6, 5, 0, "complete"),
        (22, 3, None, "tree arity 2"),
    ],
)
def test_the_best_named_family(nodes, degree, value, name):
    best = best_named(nodes, degree)
    assert value is None or best.value == pytest.approx(value, abs=1e-6)
    assert best.value < 1
    assert value is None or best.name.startswith(name)


def test_named_families_keep_the_degree():
    values = [best_named(16, degree).value for degree in range(2, 16)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0, abs=1e-12)
    assert best_named(16, 2).value == pytest.approx(0.926670, abs=1e-6)  # the ring
    assert best_directed(16, 2) == search_baselines.Named(4, "de-bruijn base 2")


def test_annealing():
    best, edges = anneal(10, 3, seconds=0.4, seed=1)
    assert best.value == pytest.approx(3 / 7)
    assert judge(10, 3, edges) == pytest.approx(best.value, abs=1e-12)
    assert best.evaluations > 100
    assert 0 < best.seconds_to_best <= best.seconds < 2
    assert set(np.bincount(edges.ravel())) == {3}
    cold, edges = anneal(30, 4, seconds=0.1, temperature=0.0)
    assert judge(30, 4, edges) == pytest.approx(cold.value, abs=1e-12)
    assert cold.value < regular_slem(nx.random_regular_graph(4, 30, seed=0), 4)


PETERSEN = edges_of(nx.petersen_graph())


@pytest.mark.parametrize(
    ("edges", "what"),
    [
        (PETERSEN.astype(float), "no pairs of nodes"),
        (PETERSEN.ravel(), "no pairs of nodes"),
        (PETERSEN + 1, "not in 0 ... 9"),
        (PETERSEN[:, ::-1], "from the larger"),
        (np.vstack((PETERSEN, PETERSEN[:1])), "twice"),
        (np.vstack((PETERSEN, [[0, 2]])), "degree 4, more than 3"),
        (edges_of(nx.disjoint_union(nx.cycle_graph(5), nx.cycle_graph(5))), "not connected"),
        (np.zeros((0, 2), dtype=int), "not connected"),
    ],
)
def test_graphs_that_break_a_rule(edges, what):
    with pytest.raises(ValueError, match=what):
        judge(10, 3, edges)


def test_the_judge_computes_the_slem_itself():
    assert judge(10, 3, PETERSEN) == pytest.approx(3 / 7)

    def search(nodes, degree, seed, seconds, on_better, value=3 / 7, **other):
        on_better(0.0, 0.9)
        time.sleep(0.05)
        on_better(0.0, value)
        return found(PETERSEN, value, **other)

    learned = learn_with(search, 10, 3, seconds=1)
    assert learned.value == pytest.approx(3 / 7)
    assert learned.remark == ""
    assert learned.seconds_to(0.95) < 0.05 <= learned.seconds_to(3 / 7) <= learned.seconds  # by the clock here
    assert learned.seconds_to(0.4) is None

    boast = learn_with(lambda *given: search(*given, value=0.3), 10, 3, seconds=1)
    assert boast.value == pytest.approx(3 / 7)
    assert boast.remark == "says 0.300000000"
    assert boast.seconds_to(0.3) is None
    assert boast.seconds_to(3 / 7) == pytest.approx(boast.seconds, abs=0.01)

    wrong = learn_with(lambda *given: search(*given, bound=0.5), 10, 3, seconds=1)
    assert wrong.remark == "is below its bound 0.500000000"
    broken = learn_with(search, 10, 2, seconds=1)
    assert broken.value is None
    assert broken.remark == "gives a node of degree 3, more than 2"
    assert broken.trace == ()


def test_a_small_run(tmp_path):
    cache = Cache(tmp_path / "figures.json")
    options = {"count": 20, "annealing_seconds": 0.1, "temperatures": (0.05, 0.001), "learn_seconds": 1, "cache": cache}
    rows = list(bench([13, 16], [3, 4], search_of_one, **options))
    assert [(row.nodes, row.degree) for row in rows] == [(13, 4), (16, 3), (16, 4)]
    for row in rows:
        assert row.learned.value == pytest.approx(
            spectral_slem(nx.random_regular_graph(row.degree, row.nodes, seed=0)), abs=1e-9
        )
        assert row.against.random.value <= row.learned.value
        assert [one.temperature for one in row.against.annealed] == [0.05, 0.001]
    assert rows[2].ramanujan == pytest.approx(sqrt(3) / 2)
    lines = list(table(rows))
    assert len(lines) == 5
    assert len({line.count("|") for line in lines}) == 1
    rounds = ceil(log(1000) / -log(rows[2].learned.value))
    assert lines[4].endswith(f" {rounds} | 2 de-bruijn base 4 |")
    said = list(unmet(rows[2]))
    assert sum("annealed from" in claim for claim in said) == 2
    assert any("is not below the best random" in claim for claim in said)

    before = cache.path.read_bytes()
    again = list(bench([16], [4], None, **(options | {"cache": Cache(cache.path)})))
    assert again[0].against == rows[2].against
    assert again[0].learned is None
    assert list(unmet(again[0])) == []
    assert cache.path.read_bytes() == before


def test_claims_that_hold():
    def search(nodes, degree, seed, seconds, on_better):
        on_better(0.0, 3 / 7)
        return found(PETERSEN, 3 / 7)

    [row] = bench([10], [3], search, count=1, annealing_seconds=0.05, temperatures=[0.05])
    assert not any("annealing" in claim for claim in unmet(row))
    # Nothing is below the Petersen graph, which is a family of its own.
    assert any("is not below the best named graph's 0.428571" in claim for claim in unmet(row))


def test_the_command(monkeypatch, capsys, tmp_path):
    given = ["--nodes", "12", "--degrees", "3", "--count", "5", "--annealing-seconds", "0", "--no-search"]
    monkeypatch.setattr(sys, "argv", ["bench_search", *given, "--cache", str(tmp_path / "figures.json")])
    main()
    out = capsys.readouterr().out
    assert "| n | degree | best of 5 random |" in out
    sys.argv += ["--json"]
    main()
    [row] = json.loads(capsys.readouterr().out)
    assert row["against"]["random"]["value"] == random_regular(12, 3, 5).value
    assert f"| 12 | 3 | {row['against']['random']['value']:.6f} |" in out
    assert row["learned"] is None
