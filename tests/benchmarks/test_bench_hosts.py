"""A schedule designed for uneven hosts is faster on them than named ones, and the benchmark that says so is right."""

from __future__ import annotations

import bench_hosts
import numpy as np
import pytest
from bench_hosts import (
    DESIGNED,
    NAMED,
    NONNEGATIVE,
    PLACED,
    Case,
    Inside,
    compare,
    links_of,
    main,
    schedules_for,
    table,
)
from hosts import namespaces_allowed

from topokit.network import consensus_seconds

needs_namespaces = pytest.mark.skipif(
    not namespaces_allowed(), reason="this machine or user may not make network namespaces"
)


@pytest.mark.slow
@needs_namespaces
@pytest.mark.dist
@pytest.mark.timeout(120)
def test_what_two_small_hosts_do_is_what_the_matrices_say(tmp_path):
    case = Case((40.0, 20.0), ranks=2, size=100_000)
    names = ["ring", "one-peer-exponential"]
    inside = Inside(1e8, 1e-3)
    network, found = compare(case, names, inside=inside, most_seconds=0.5, turns=2, links=tmp_path / "links.csv")
    rows = {row.name: row for row in found}
    assert set(rows) == {DESIGNED, NONNEGATIVE, PLACED, *(NAMED[name] for name in names), *bench_hosts.ALLREDUCES}
    assert [row.measured for row in found] == sorted(row.measured for row in found)
    assert [host.nodes for host in network.hosts] == [(0, 1), (2, 3)]
    assert rows[DESIGNED].left < 1e-6, "two hosts and two ranks agree up to rounding"
    # A message of 100 kB takes 40 ms at 20 Mbit/s, of which one packet may be in the bucket already.
    assert rows[DESIGNED].measured > 0.03
    ring = rows["ring"]
    assert ring.rounds > 5
    assert ring.predicted == pytest.approx(ring.rounds * ring.per_round)
    assert min(ring.turns) <= ring.measured <= max(ring.turns)
    assert len(table(found).splitlines()) == 1 + len(rows)


@needs_namespaces
@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.timeout(1800)
def test_the_designed_schedule_is_the_fastest_of_all_gossip_on_uneven_hosts():
    names = ["ring", "exponential", "one-peer-exponential", "base-2"]
    for _ in range(3):  # other programs may get in the way
        _, found = compare(Case(), names, most_seconds=8.0, turns=3)
        print(table(found))
        rows = {row.name: row for row in found}
        designed = rows[DESIGNED]
        assert designed.left < 1e-6
        others = [row for name, row in rows.items() if name in (PLACED, *(NAMED[name] for name in names))]
        assert min(row.predicted for row in others) > 4 * designed.predicted
        if (
            min(row.measured for row in others) > 3 * designed.measured
            and abs(1 - designed.measured / designed.predicted) < 0.4
        ):
            return
    pytest.fail("three times: the designed schedule is less than 3 times as fast, or not as fast as predicted")


def test_links_are_those_of_the_slower_card():
    network = links_of(Case((80.0, 40.0, 20.0), ranks=2), Inside(1e9, 1e-3))
    bandwidth, latency = network.link([0, 0, 4, 2], [1, 2, 0, 5])
    assert (bandwidth * 8 / 1e6 / bench_hosts.PAYLOAD)[1:] == pytest.approx([40.0, 20.0, 20.0])
    assert bandwidth[0] == 1e9
    assert set(latency) == {1e-3}
    assert [host.send for host in network.hosts] == pytest.approx([9.5e6, 4.75e6, 2.375e6])


@pytest.mark.slow
def test_predicted_seconds_of_the_designed_schedule_are_the_least():
    size = 1_000_000
    network = links_of(Case((200.0, 100.0, 25.0), ranks=4), Inside(4e8, 5e-3))
    schedules = schedules_for(network, size, steps=100)
    seconds = {name: consensus_seconds(s, network, size).worst_seconds for name, s in schedules.items()}
    others = [value for name, value in seconds.items() if name not in (DESIGNED, NONNEGATIVE)]
    assert seconds[DESIGNED] < seconds[NONNEGATIVE] < min(others)
    assert 2 * seconds[DESIGNED] < min(others)
    assert min(W.weight.min() for W in schedules[NONNEGATIVE].rule.rounds) >= 0
    product = np.eye(12)
    for W in schedules[DESIGNED].rule.rounds:
        product = W.to_dense() @ product
    assert product == pytest.approx(np.full((12, 12), 1 / 12))


def test_without_namespaces_the_benchmark_says_so_in_a_sentence(monkeypatch):
    monkeypatch.setattr(bench_hosts, "namespaces_allowed", lambda: False)
    with pytest.raises(SystemExit, match="may not make network namespaces"):
        main(["--only", "ring"])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--rates", "100"], "at least 2 hosts"),
        (["--only", "clique"], "choose from"),
        (["--rates", "9", "0"], "above 0"),
    ],
)
def test_what_cannot_be_timed_is_refused(words, complaint, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert complaint in capsys.readouterr().err
