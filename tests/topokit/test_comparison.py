"""`topokit.comparison`: every cell against what the schedule itself says."""

import math

import numpy as np
import pytest

from topokit import analyze, design
from topokit.comparison import COLUMNS, Compared, all_reduce, columns_of
from topokit.metrics.neighbours import effective_neighbours
from topokit.metrics.transient import effective_mixing_time
from topokit.network import Network, bytes_per_node, predict

SCHEDULES = {
    name: design(name, nodes, **parameters)
    for name, nodes, parameters in [
        ("ring", 16, {}),
        ("one-peer-exponential", 16, {}),
        ("random-matching", 16, {}),
        ("tree-push-pull", 16, {}),
        ("ceca-2p", 16, {}),
        ("de-bruijn", 16, {}),
    ]
}


def cells(row):
    return {column.key: column.cell(row) for column in COLUMNS}


@pytest.mark.parametrize("name", SCHEDULES)
def test_cells_are_what_the_schedule_says(name):
    schedule = SCHEDULES[name]
    report = analyze(schedule)
    network = Network.uniform(16, "100MB/s", "1ms")
    found = cells(Compared(name, report, predict(schedule, network, 5e7), bytes_per_node(schedule, 5e7).mean))
    plain = name in ("ring", "one-peer-exponential", "random-matching", "de-bruijn")
    assert found["name"] == name
    assert (found["effective_neighbours"] is not None) == plain
    if plain:
        h = effective_mixing_time(schedule).value
        assert found["effective_neighbours"] == pytest.approx(effective_neighbours(schedule).value, rel=1e-9)
        assert found["transient_iid"] == pytest.approx(16**3 * h**2, rel=1e-9)
        assert found["transient_non_iid"] == pytest.approx(16**3 * h**4, rel=1e-9)
    assert found["bytes_per_node"] == pytest.approx(5e7 * found["messages_per_node_and_round"])
    exact = {"ring": "no", "random-matching": None, "de-bruijn": "after 4"}.get(name, "proved")
    assert found["exact_averaging"] == exact
    assert found["period"] == schedule.period


def test_seconds_follow_from_the_busiest_node():
    network = Network.uniform(16, "100MB/s", "1ms")
    rows = {}
    for name in ("ring", "one-peer-exponential"):
        report = analyze(SCHEDULES[name])
        rows[name] = cells(Compared(name, report, predict(SCHEDULES[name], network, 5e7, report=report)))
    assert rows["ring"]["seconds_per_round"] == pytest.approx(2 * 0.5 + 0.001)  # two messages, one after the other
    assert rows["one-peer-exponential"]["seconds_per_round"] == pytest.approx(0.501)
    assert rows["one-peer-exponential"]["seconds_to_shrink"] == pytest.approx(4 * 0.501)
    ring, tree = map(cells, all_reduce(16, network, 5e7))
    assert ring["seconds_per_round"] == pytest.approx(2 * 15 * (0.001 + 0.5 / 16))
    assert ring["seconds_to_shrink"] < tree["seconds_to_shrink"]


def test_drawn_rounds_have_the_root_of_the_expected_square():
    report = analyze(SCHEDULES["random-matching"])
    found = cells(Compared("m", report))
    assert found["contraction"] == pytest.approx(math.sqrt(1 / 2 - 1 / 30))  # (n - 2) / (2 (n - 1)) for even n
    assert found["gap_per_round"] == pytest.approx(1 - found["contraction"])


def test_columns_without_anything_to_say_are_left_out():
    keys = [column.key for column in columns_of([Compared("ring", analyze(SCHEDULES["ring"]))])]
    assert "seconds_per_round" not in keys
    assert "bytes_per_node" not in keys
    assert "contraction" in keys
    assert len({column.key for column in COLUMNS}) == len({column.heading for column in COLUMNS}) == len(COLUMNS)


def test_what_never_contracts_has_no_transient():
    report = analyze(np.eye(3))
    assert cells(Compared("identity", report))["transient_iid"] is None
