"""A host whose link is cut is dropped by the others, who go on; when the link is healed, it comes back."""

import json
import subprocess
import threading
import time

import pytest
from fault_runs import OPTIONS, TARGET, happenings, last_step, newest_snapshots
from host_ranks import train_here
from hosts import namespaces_allowed, network_hosts

from topokit.designer import design
from topokit_trainer.telemetry import read_metrics

pytestmark = [pytest.mark.dist, pytest.mark.slow, pytest.mark.timeout(300)]

SIZE = 4


def link(hosts, host, state):
    switch = hosts.names[0].rpartition("h")[0] + "s"
    subprocess.run(["ip", "-n", switch, "link", "set", f"port{host}", state], check=True, timeout=10)


def until(condition, seconds):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"nothing within {seconds} s"
        time.sleep(0.02)


def cut_and_heal(hosts, folder, victim):
    until(lambda: last_step(folder) >= 500, 150)
    cut = time.time()
    link(hosts, victim, "down")
    until(lambda: len(happenings(folder, "lost", victim)) == SIZE - 1, 10)  # nobody goes on averaging with it
    assert max(saw["time"] for saw in happenings(folder, "lost", victim)) - cut < 5
    step = last_step(folder)
    until(lambda: last_step(folder) > step, 30)
    link(hosts, victim, "up")
    until(lambda: len(happenings(folder, "back", victim)) == SIZE - 1, 10)


@pytest.mark.parametrize("victim", [0, 2])
def test_a_host_that_is_cut_off_is_dropped_and_comes_back(tmp_path, victim):
    if not namespaces_allowed():
        pytest.skip("needs root on Linux, with ip and tc")
    folder, trouble = tmp_path / "run", []
    design("pairwise", SIZE, graph="ring").save(tmp_path / "pairs.json")
    words = [str(word) for word in (*OPTIONS, "--steps", 1600, "--out", folder, "--quiet")]

    def story(hosts):
        try:
            cut_and_heal(hosts, folder, victim)
        except BaseException as error:
            trouble.append(error)

    with network_hosts([1e9] * SIZE) as hosts:
        watcher = threading.Thread(target=story, args=(hosts,))
        watcher.start()
        statuses = hosts.run(train_here, str(tmp_path / "pairs.json"), words, timeout=250)
        watcher.join(timeout=200)
    assert not trouble, trouble
    assert statuses == [0] * SIZE
    summary, rows = json.loads((folder / "summary.json").read_text()), read_metrics(folder)
    assert summary["accuracy"] > TARGET
    assert rows[-1]["living"] == SIZE
    own = {rank: snapshot["accuracy"] for rank, snapshot in newest_snapshots(folder).items()}
    assert own[victim] > min(own.values()) - 0.05
    assert {"lost", "back"} <= {event["kind"] for event in summary["events"] if event["rank"] == victim}
