"""The benchmark of optimal weights judges matrices itself, ends what takes too long, and says what is missing."""

import json
import sys

import bench_weights
import networkx as nx
import numpy as np
import pytest
from bench_weights import METHODS, bench, build, judge, main, table

from topokit.optimal import optimal_weights

LAST = "best constant"


def test_matrices_are_judged_by_their_entries():
    graph = nx.cycle_graph(4)
    W = optimal_weights(graph, "fmmc").matrix.to_dense()
    slem, broken, rule = judge(graph, "fmmc", W)
    assert slem == pytest.approx(1 / 3)
    assert broken < 1e-12
    assert rule == ""

    def spoiled(*entries):
        changed = W.copy()
        for i, j, by in entries:
            changed[i, j] += by
        return changed

    assert judge(graph, "fmmc", spoiled((0, 2, 1e-3), (2, 0, 1e-3)))[1:] == (pytest.approx(1e-3), "sums off 1")
    crossed = spoiled((0, 2, 2e-3), (2, 0, 2e-3), (0, 0, -2e-3), (2, 2, -2e-3))
    assert judge(graph, "fmmc", crossed)[1:] == (pytest.approx(2e-3), "off the edges")
    assert judge(graph, "fdla", spoiled((0, 1, 1e-3)))[2] == "asymmetric"
    signed = spoiled((0, 1, -0.5), (1, 0, -0.5), (0, 0, 0.5), (1, 1, 0.5))
    assert judge(graph, "fmmc", signed)[1:] == (pytest.approx(1 / 6), "negative")
    assert judge(graph, "fdla", signed)[2] == ""
    assert judge(graph, "fdla", signed)[0] == pytest.approx(np.linalg.norm(signed - 1 / 4, 2))


@pytest.mark.parametrize(("name", "nodes", "edges"), [("random-16", 16, 32), ("grid-4", 16, 24), ("karate", 34, 78)])
def test_graphs(name, nodes, edges):
    graph = build(name)
    assert list(graph) == list(range(nodes))
    assert graph.number_of_edges() == edges
    assert nx.is_connected(graph)


def test_a_small_run():
    rows = list(bench(["random-12"], ["fmmc"], (LAST, "topokit")))
    ours, constant = rows
    assert [row.method for row in rows] == ["topokit", LAST]
    assert 0 <= ours.width <= 1e-3
    assert ours.slem < constant.slem
    assert constant.width > 0.01
    assert ours.ratio == 1
    assert all(row.seconds > 0 and row.memory > 20 for row in rows)
    assert all(row.broken < 1e-6 for row in rows)
    lines = list(table(iter(rows)))
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert "| random-12, 24 edges | FMMC | topokit | " in lines[2]


@pytest.mark.parametrize("objective", ["fdla", "fmmc"])
@pytest.mark.parametrize("method", ["cvxpy + CLARABEL", "cvxpy + SCS", LAST])
def test_peers_are_asked_for_the_same(method, objective):
    if method != LAST:
        pytest.importorskip("cvxpy")
    graph = build("random-12")
    W, _, _ = METHODS[method](graph, objective, 10.0)
    slem, broken, _ = judge(graph, objective, W)
    found = optimal_weights(graph, objective)
    assert broken < 1e-4
    assert slem > found.lower - 1e-4
    assert slem < found.slem + (1e-4 if method != LAST else 0.2)


def test_what_takes_too_long_is_ended():
    pytest.importorskip("scs")
    [late] = bench(["random-64"], ["fmmc"], ["cvxpy + SCS"], limit=0.01)
    assert late.remark == "not within 0.01 s"
    assert late.seconds is late.slem is None
    assert late.memory > 20


def test_what_is_not_installed_is_said(monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["bench_weights", "--no-karate", "--nodes", "8", "--grids", "--objectives", "fdla"]
    )
    sys.argv += ["--methods", "mixingmatrix", "--peers", sys.executable, "--json"]
    main()
    [row] = json.loads(capsys.readouterr().out)
    assert (row["graph"], row["nodes"], row["edges"]) == ("random-8", 8, 16)
    assert row["remark"] == "mixingmatrix is not installed" or row["slem"] < 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds processes to such a limit")
def test_a_process_that_dies_leaves_a_row():
    [row] = bench(["karate"], ["fdla"], [LAST], memory=0.05)
    assert row.slem is None
    assert "died" in row.remark or "Error" in row.remark


def test_every_method_says_what_it_needs():
    assert set(bench_weights.NEEDS) == set(METHODS)
    assert set(bench_weights.OWN) | set(bench_weights.STOPS_BY_ITSELF) <= set(METHODS)
