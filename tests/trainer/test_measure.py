"""Measuring: what order pairs are taken in, real ranks on this machine, and hosts with links of a known rate."""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
from bench_network import Case, compare, link_errors
from hosts import namespaces_allowed
from hypothesis import given
from hypothesis import strategies as st
from ranks import run_ranks
from workers import lose_a_rank, measure_here

from topokit.errors import InputError
from topokit.network import Network
from topokit_cli.main import main
from topokit_trainer.measure import MeasureSettings, _hosts, _Place, pair_steps, run_measurement
from topokit_trainer.probes import rate

ROOT = Path(__file__).parents[2]


@given(st.lists(st.integers(1, 3), min_size=1, max_size=7), st.booleans())
def test_every_pair_comes_once_and_no_host_is_disturbed(sizes, every_pair):
    ranks = iter(range(sum(sizes)))
    hosts = [[next(ranks) for _ in range(size)] for size in sizes]
    home = {rank: k for k, host in enumerate(hosts) for rank in host}
    steps = pair_steps(hosts, every_pair)
    for step in steps:
        used = [host for a, b in step for host in {home[a], home[b]}]
        assert len(used) == len(set(used))
    pairs = [pair for step in steps for pair in step]
    expected = {
        (a, b)
        for a in home
        for b in home
        if a != b and (every_pair or home[a] == home[b] or (a == hosts[home[a]][0] and b == hosts[home[b]][0]))
    }
    assert len(pairs) == len(expected)
    assert set(pairs) == expected
    if set(sizes) == {1}:  # as few steps as there can be
        assert len(steps) == 2 * (len(sizes) - 1 + len(sizes) % 2) * (len(sizes) > 1)


def test_ranks_that_share_a_machine_and_a_network_share_a_host():
    places = [_Place("box", "a", "1"), _Place("box", "a", "2"), _Place("box", "a", "1"), _Place("77", "b", "1")]
    assert _hosts(places) == {"box": [0, 2], "box-2": [1], "host-77": [3]}


def test_a_rate_is_what_more_bytes_take():
    sizes = [1e6, 2e6, 4e6]
    assert rate(sizes, [0.51, 0.52, 0.54], 0.5) == pytest.approx(1e8)
    # Small messages that were held up do not make the link much faster than the largest message was.
    assert rate(sizes, [0.53, 0.53, 0.54], 0.5) == pytest.approx(1.1e8)
    assert rate(sizes, [0.9, 0.6, 0.54], 0.5) == pytest.approx(1.1e8)
    # What messages of all sizes lose at their start does not count.
    assert rate(sizes, [0.513, 0.523, 0.543], 0.5) == pytest.approx(1e8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 10.0}, "--size is 10 bytes; expected at least 1kB"),
        ({"repeats": 0}, "--repeats is 0"),
        ({"time_limit": 0.0}, "--time-limit is 0.0"),
    ],
)
def test_settings_that_make_no_sense(options, message):
    with pytest.raises(InputError, match=message):
        MeasureSettings(**options)


def test_one_process_has_nothing_to_measure(tmp_path):
    with pytest.raises(InputError, match="torchrun --nproc-per-node 8 -m topokit_cli measure"):
        run_measurement(MeasureSettings(), tmp_path / "links.csv", print)


def test_the_command_without_a_launcher(capsys):
    assert main(["measure"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: a network is measured by several ranks, and this process is alone; start it")
    assert main(["measure", "--size", "10G"]) == 1
    assert "--size is '10G'; expected a number with B" in capsys.readouterr().err


@pytest.mark.dist
def test_ranks_of_this_machine(tmp_path):
    path = tmp_path / "links.csv"
    results = run_ranks(measure_here, 3, MeasureSettings(time_limit=2, repeats=2, device="cpu"), path)
    found = results[0]
    assert all(result == found for result in results)
    network = found.network
    assert Network.load(path) == network
    assert [host.nodes for host in network.hosts] == [(0, 1, 2)]
    assert len(network.links) == 6
    bandwidth, latency = network.link([0, 1, 2, 0, 1, 2], [1, 2, 0, 2, 0, 1])
    assert (bandwidth > 1e6).all()
    assert ((latency > 1e-6) & (latency < 1)).all()
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.dist
def test_mistakes_are_said_on_all_ranks(tmp_path):
    settings = MeasureSettings(time_limit=0.01, device="cpu")
    (message, _) = run_ranks(measure_here, 2, settings)
    assert message.startswith("--time-limit is 0.01 s, and measuring 2 steps takes at least")
    path = tmp_path / "no" / "links.csv"
    messages = run_ranks(measure_here, 2, MeasureSettings(device="cpu"), path)
    assert messages == [f"rank 0: cannot write {path}: the folder {path.parent} does not exist"] * 2


@pytest.mark.dist
def test_a_lost_rank_is_said_in_a_sentence():
    message, _ = run_ranks(lose_a_rank, 2, MeasureSettings(time_limit=30, timeout=20, device="cpu"))
    assert message.startswith("measuring broke off: a rank is lost, or took longer than --timeout (")


@pytest.mark.slow
@pytest.mark.dist
def test_the_command_under_torchrun(tmp_path):
    environment = dict(os.environ, OMP_NUM_THREADS="1", TERM="dumb", COLUMNS="100")
    environment["PYTHONPATH"] = os.pathsep.join(str(ROOT / part) for part in (".", "trainer", "cli"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "topokit_cli", "measure", "--time-limit", "2s", "--json", "--out", "links.csv"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["nodes"] == 2
    assert Network.load(tmp_path / "links.csv").nodes == 2
    assert "wrote links.csv" in done.stderr


@pytest.mark.slow  # it times real messages, which other programs disturb
@pytest.mark.dist
@pytest.mark.skipif(not namespaces_allowed(), reason="this machine or user may not make network namespaces")
def test_hosts_with_links_of_a_known_rate():
    case = Case((200.0,) * 4)
    settings = MeasureSettings(time_limit=6, repeats=3, device="cpu")
    for _ in range(3):  # other programs may get in the way; all links and larger clusters are in the benchmark
        found = compare(case, ["ring"], size=1_500_000, settings=settings, timeout=60)
        link = median(link_errors(case, found["network"]))
        ratio = {what: ratio for what, _, _, ratio in found["rows"]}["ring"]
        if abs(link - 1) < 0.1 and abs(ratio - 1) < 0.2:
            return
    pytest.fail(f"three times: a link {link} of its rate, predicted over measured seconds {ratio}")
