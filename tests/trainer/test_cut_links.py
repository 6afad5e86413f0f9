"""A host whose link is cut, and mended, while its node and the others gossip."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gossip_workers import cut_off
from hosts import namespaces_allowed, network_hosts

pytestmark = pytest.mark.dist

LOST_AFTER, CUT, SECONDS = 1.0, 3.0, 7.0


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 2])  # host 0 has the store of the run, too
def test_who_is_cut_off_is_dropped_and_comes_back(tmp_path, victim):
    if not namespaces_allowed():
        pytest.skip("needs network namespaces")
    with network_hosts([1e9] * 4) as hosts, ThreadPoolExecutor(1) as pool:
        switch = hosts.names[0].removesuffix("h0") + "s"
        run = pool.submit(hosts.run, cut_off, str(tmp_path), SECONDS, LOST_AFTER, 1.5, timeout=50.0)
        while len(list(Path(tmp_path).glob("up *"))) < 4 and not run.done():
            time.sleep(0.02)
        time.sleep(0.2)
        cut = time.time()
        subprocess.run(["ip", "-n", switch, "link", "set", f"port{victim}", "down"], check=True)
        time.sleep(CUT)
        mended = time.time()
        subprocess.run(["ip", "-n", switch, "link", "set", f"port{victim}", "up"], check=True)
        results = run.result()
    lonely = results.pop(victim)
    for result in results:
        assert [(kind, rank) for _, kind, rank in result["events"]] == [("lost", victim), ("back", victim)]
        assert result["events"][0][0] - cut < 2 * LOST_AFTER
        assert len(result["living"]) == 3
        assert result["away"] < LOST_AFTER
        assert result["longest"] < 0.5, "the gradient loop never waits for communication"
        assert averagings(result, cut + 2.5, mended) > 0
    assert averagings(lonely, 0, cut) > 0
    assert averagings(lonely, cut + 1.0, mended) == 0
    assert averagings(lonely, mended, time.time()) > 0
    assert lonely["longest"] < 0.5
    assert CUT - 1.0 < lonely["away"] < CUT + 2.0
    assert sorted(kind for _, kind, _ in lonely["events"]) == ["back"] * 3 + ["lost"] * 3


def averagings(result, begin, end):
    return sum(count for when, count in result["averaged"] if begin <= when < end)
