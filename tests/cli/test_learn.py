"""``topokit design --learn`` and ``--place``: what is found, where it is kept, and requests without an answer."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import networkx as nx
import numpy as np
import pytest

import topokit_cli.weight_options
from topokit.network import Network, round_seconds
from topokit.schedule import Schedule

QUICK = ["--time-limit", "0.4"]
HOSTS = ["--model-size", "10MB", "--bandwidth", "1Gbit/s", "--nodes-per-host", "4"]
NETWORK = Network.uniform(8, "1Gbit/s", nodes_per_host=4)


def learn(run, *options):
    """Learn a schedule as the user would, and read the file."""
    outcome = run("design", "--learn", *options, "-o", "learned.json")
    assert outcome.status == 0, outcome.stderr
    return Schedule.load("learned.json"), outcome


def edges_of(schedule):
    """Pairs of nodes that exchange messages in the first round."""
    return {(int(u), int(v)) for u, v in np.argwhere(np.triu(schedule.round(0).to_dense(), 1))}


def slem_of(schedule):
    values = np.sort(np.abs(np.linalg.eigvalsh(schedule.round(0).to_dense())))
    return values[-2]


def test_the_best_cubic_graph_of_ten_nodes_is_petersens(run):
    schedule, outcome = learn(run, "-n", 10, "--max-degree", 3)
    assert slem_of(schedule) == pytest.approx(3 / 7)
    assert nx.is_isomorphic(nx.Graph(sorted(edges_of(schedule))), nx.petersen_graph())
    assert schedule.provenance["search"]["stopped"] == "bound"
    assert "learned: laplacian 0.428571 by " in outcome.stdout
    shown = run("analyze", "learned.json").stdout
    assert f"learned, as the file says: {schedule.provenance['search']['summary']}" in shown
    assert run("compare", "learned.json", "ring", "-n", 10).status == 0


def laplacian_ends(graph):
    values = np.linalg.eigvalsh(nx.laplacian_matrix(graph).toarray().astype(float))
    return values[1], values[-1]


OF_ENDS = {
    "laplacian": lambda low, high: (high - low) / (high + low),
    "fiedler": lambda low, high: low,
    "eigenratio": lambda low, high: high / low,
    "mixing-time": lambda low, high: (high + low) ** 2 / (4 * low * high),
}


@pytest.mark.parametrize("limits", [["--max-degree", 3], ["--edges", 7]])
@pytest.mark.parametrize("objective", [*OF_ENDS, "metropolis-hastings", "fmmc", "fdla"])
def test_every_objective_is_measured_on_the_graph_in_the_file(run, objective, limits):
    schedule, _ = learn(run, "-n", 6, *limits, "--objective", objective, *QUICK)
    search = schedule.provenance["search"]
    assert search["objective"] == objective
    if objective in OF_ENDS:
        value = OF_ENDS[objective](*laplacian_ends(nx.Graph(sorted(edges_of(schedule)))))
    else:
        assert schedule.provenance["weights"] == objective
        value = slem_of(schedule)
    assert search["value"] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize(
    ("weights", "objective", "kept"),
    [
        ("laplacian", "laplacian", "laplacian"),
        ("metropolis-hastings", "metropolis-hastings", "metropolis-hastings"),
        ("uniform", "metropolis-hastings", "uniform"),
        ("max-degree-plus-one", "laplacian", "max-degree-plus-one"),
        ("fmmc", "fmmc", "fmmc"),
        ("fdla", "fdla", "fdla"),
        ("auto", "fmmc", "auto"),
    ],
)
def test_weights_choose_the_objective_that_suits_them(run, weights, objective, kept):
    schedule, _ = learn(run, "-n", 6, "--max-degree", 3, "--weights", weights, *QUICK)
    assert schedule.provenance["search"]["objective"] == objective
    assert schedule.provenance["weights"] == kept
    assert ("optimality" in schedule.provenance) == (weights in ("fmmc", "fdla", "auto"))
    assert run("analyze", "learned.json", "--require", "symmetric", "--require", "doubly-stochastic").status == 0


def test_edges_are_kept_to(run):
    schedule, _ = learn(run, "-n", 8, "--edges", 9, "--min-edges", 9, "--max-degree", 4, *QUICK)
    edges = edges_of(schedule)
    assert len(edges) == 9
    assert max(np.bincount(np.ravel(list(edges)))) <= 4


def test_a_graph_says_which_edges_are_allowed_and_what_its_nodes_are_called(run, tmp_path):
    cluster = nx.barbell_graph(4, 1)
    lines = "".join(f"n{u},n{v}\n" for u, v in cluster.edges)
    (tmp_path / "cluster.csv").write_text(f"source,target\n{lines}")
    schedule, outcome = learn(run, "--graph", "cluster.csv", "--edges", 10, *QUICK)
    labels = schedule.provenance["labels"]
    assert sorted(labels) == sorted(f"n{node}" for node in cluster)
    assert "nodes were numbered: 0 = n" in outcome.stderr
    edges = edges_of(schedule)
    assert len(edges) <= 10
    assert all(cluster.has_edge(int(labels[u][1:]), int(labels[v][1:])) for u, v in edges)


def test_few_edges_leave_a_host(run):
    schedule, _ = learn(run, "-n", 8, "--max-degree", 3, "--nodes-per-host", 4, "--host-edges", 2, *QUICK)
    assert sum((u < 4) != (v < 4) for u, v in edges_of(schedule)) in (1, 2)


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_file(run, tmp_path):
    files = {}
    for name, workers in {"one": 1, "two": 2}.items():
        limits = ["-n", 13, "--edges", 14, "--max-degree", 3, "--seed", 3]
        outcome = run("design", "--learn", *limits, "--workers", workers, "-o", f"{name}.json")
        assert outcome.status == 0, outcome.stderr
        files[name] = (tmp_path / f"{name}.json").read_bytes()
    assert files["one"] == files["two"]
    assert Schedule.load("one.json").provenance["search"]["seed"] == 3


@pytest.mark.parametrize("period", ["auto", "3"])
def test_six_nodes_average_exactly_in_three_rounds_of_pairs(run, period):
    schedule, outcome = learn(run, "-n", 6, "--period", period)
    assert schedule.period == 3
    assert schedule.claims.exact_averaging
    assert "learned: 3 rounds, exact (at least 3 are needed)" in outcome.stdout
    assert run("analyze", "learned.json", "--require", "exact").status == 0


def test_a_sequence_keeps_to_the_peers_and_the_allowed_pairs(run, tmp_path):
    (tmp_path / "ring.csv").write_text("source,target\n0,1\n1,2\n2,3\n3,4\n4,5\n5,0\n")
    schedule, _ = learn(run, "--graph", "ring.csv", "--period", 4, "--max-degree", 1, "--weights", "fmmc", *QUICK)
    assert schedule.period == 4
    for t in range(4):
        W = schedule.round(t).to_dense()
        assert ((W > 0).sum(axis=1) <= 2).all()
        assert all(abs(u - v) in (1, 5) for u, v in np.argwhere(np.triu(W, 1)))


@pytest.mark.slow
def test_on_a_network_the_fewest_seconds_decide(run):
    schedule, outcome = learn(run, "-n", 8, *HOSTS, "--time-limit", 2)
    assert "one graph" in outcome.stderr
    assert "a sequence of rounds 0.16 s" in outcome.stderr
    assert schedule.claims.exact_averaging  # inside the hosts, between them, at most two vectors through a card
    assert schedule.provenance["search"]["seconds"] <= 0.161
    one, _ = learn(run, "-n", 8, *HOSTS, "--time-limit", 1, "--edges", 12)
    assert (one.period, one.provenance["search"]["objective"]) == (1, "seconds")
    assert len(edges_of(one)) <= 12
    pairs, _ = learn(run, "-n", 8, *HOSTS, "--time-limit", 1, "--max-degree", 1)
    assert all(((pairs.round(t).to_dense() > 0).sum(axis=1) <= 2).all() for t in range(pairs.period))


def test_a_links_file_says_who_may_talk_to_whom(run, tmp_path):
    hosts = "".join(f"host{k},{k},400Mbit/s,400Mbit/s,inf,inf\n" for k in range(6))
    pairs = [(a, b) for a in range(6) for b in range(6) if a != b and {a, b} != {0, 5}]
    links = "".join(f"host{a},host{b},400Mbit/s,0s\n" for a, b in pairs)
    text = f"host,nodes,send,receive,both,inside\n{hosts}\nfrom,to,bandwidth,latency\n{links}"
    (tmp_path / "links.csv").write_text(text)
    network = ["--links", "links.csv", "--model-size", "10MB"]
    schedule, _ = learn(run, "-n", 6, *network, "--objective", "laplacian", *QUICK)
    assert edges_of(schedule) <= {(a, b) for a, b in pairs if a < b}
    schedule, _ = learn(run, "-n", 6, *network, *QUICK)
    rounds = [schedule.round(t).to_dense() for t in range(schedule.period)]
    assert all(W[0, 5] == W[5, 0] == 0 for W in rounds)


def test_a_ring_across_hosts_gets_its_seconds_back(run, tmp_path):
    order = [0, 4, 1, 5, 2, 6, 3, 7]
    ring = nx.Graph()
    ring.add_nodes_from(f"n{node}" for node in range(8))
    ring.add_edges_from((f"n{a}", f"n{b}") for a, b in zip(order, [*order[1:], order[0]], strict=True))
    nx.write_graphml(ring, tmp_path / "shuffled.graphml")
    run("design", "--graph", "shuffled.graphml", "-o", "before.json")
    outcome = run("design", "--graph", "shuffled.graphml", *HOSTS, "--place", "-o", "placed.json")
    assert outcome.status == 0
    assert "placed: 0.16 s a round, 0.64 s as numbered" in outcome.stderr
    before, placed = Schedule.load("before.json"), Schedule.load("placed.json")
    found, ideal = (round_seconds(s.round(0), NETWORK, "10MB").seconds for s in (placed, _plain_ring(run)))
    assert found == pytest.approx(ideal)
    assert [place.host for place in placed.placement] == ["host0"] * 4 + ["host1"] * 4
    assert [place.rank for place in placed.placement] == list(range(8))
    # The same edges between the same names.
    assert _named_edges(placed) == _named_edges(before)
    names = placed.provenance["labels"]
    assert f"nodes were numbered: 0 = {names[0]}, 1 = {names[1]}" in outcome.stderr


def _plain_ring(run):
    run("design", "-t", "ring", "-n", 8, "-o", "ring.json")
    return Schedule.load("ring.json")


def _named_edges(schedule):
    names = schedule.provenance["labels"]
    return {frozenset((names[u], names[v])) for u, v in edges_of(schedule)}


@pytest.mark.slow
def test_places_of_what_is_learned_or_recommended(run):
    learned, _ = learn(run, "-n", 8, *HOSTS, "--place", "--time-limit", 1)
    assert len(learned.placement) == 8
    assert learned.provenance["search"]["seconds"]
    assert run("design", "-n", 8, *HOSTS, "--place", "-o", "best.json").status == 0
    assert len(Schedule.load("best.json").placement) == 8
    outcome = run("design", "-t", "grid", "-n", 8, "--weights", "fmmc", *HOSTS, "--place", *QUICK, "-o", "grid.json")
    assert outcome.status == 0
    assert run("analyze", "learned.json", "best.json", "grid.json").status == 0


def test_json_tells_how_it_was_found_and_the_schedule_goes_through_a_pipe(run):
    outcome = run("design", "--learn", "-n", 5, "--max-degree", 2, "--json")
    search = json.loads(outcome.stdout)["provenance"]["search"]
    assert (search["objective"], search["stopped"]) == ("laplacian", "bound")
    piped = run("design", "--learn", "-n", 5, "--max-degree", 2, "-o", "-")
    assert "learned: laplacian 0.447214 by " in piped.stderr
    assert json.loads(run("analyze", "-", "--json", stdin=piped.stdout).stdout)["slem"] == pytest.approx(5**-0.5)


def test_progress_tells_the_best_and_the_bound_on_standard_error(run, monkeypatch):
    monkeypatch.setattr(topokit_cli.weight_options, "EVERY", 0.0)
    outcome = run("design", "--learn", "-n", 10, "--max-degree", 3, "--json")
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("search ")]
    assert lines
    assert all(": laplacian 0." in line and "no regular graph beyond 0.428571" in line for line in lines)
    json.loads(outcome.stdout)


@pytest.mark.parametrize(
    "options", [["--max-degree", "4"], ["--period", "4"], ["--objective", "fmmc", "--edges", "40"]]
)
def test_time_limits_are_kept(run, options):
    begin = time.monotonic()
    schedule, _ = learn(run, "-n", 24, *options, "--time-limit", 1)
    assert time.monotonic() - begin < 6  # the machine may be busy
    assert schedule.provenance["search"]["stopped"] == "time"
    assert run("analyze", "learned.json").status == 0


@pytest.mark.slow
def test_training_takes_learned_graphs_and_sequences(run):
    options = ["--steps", "4", "--batch-size", "4", "--eval-every", "4", "--device", "cpu", "--gradients", "loop"]
    for limits in (["--max-degree", 2], ["--period", "auto"]):
        learn(run, "-n", 5, *limits, *QUICK)
        outcome = run("train", "learned.json", *options, "--json")
        assert outcome.status == 0, outcome.stderr


def test_objectives_are_listed(run):
    names = [entry["name"] for entry in json.loads(run("list", "objectives", "--json").stdout)]
    assert {"laplacian", "metropolis-hastings", "fmmc", "fdla", "fiedler", "seconds"} < set(names)
    assert "fiedler  " in run("list", "objectives").stdout


# Every better graph is told of at once, not only after a second.
TALKATIVE = """
import sys
import topokit_cli.weight_options
from topokit_cli.main import main
topokit_cli.weight_options.EVERY = 0.0
sys.exit(main())
"""


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_ctrl_c_keeps_the_best_so_far(command, tmp_path, workers):
    def default_interrupt():  # tests may run where it is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    arguments = ["design", "--learn", "-n", "100", "--max-degree", "4", "--workers", workers, "-o", "s.json"]
    process = subprocess.Popen(
        [sys.executable, "-c", TALKATIVE, *arguments],
        env=command[1],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=default_interrupt,
        start_new_session=True,
    )
    timer = threading.Timer(90, process.kill)
    timer.start()
    noted = process.stderr.readline()
    assert noted.startswith("search "), noted
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of the group
    stdout, stderr = process.communicate()
    timer.cancel()
    assert process.returncode == 130, stderr
    assert "; interrupted" in stdout
    assert "Traceback" not in stderr
    assert stderr.endswith("wrote s.json\nerror: interrupted\n")
    schedule = Schedule.load(tmp_path / "s.json")
    assert schedule.provenance["search"]["stopped"] == "interrupt"
    assert schedule.nodes == 100
    assert max(np.bincount(np.ravel(list(edges_of(schedule))))) <= 4
    until = time.monotonic() + 10  # helpers of multiprocessing notice a little later
    while (left := _living(process.pid)) and time.monotonic() < until:
        time.sleep(0.05)
    assert left == []


def _living(group):
    """Processes of a group that have not ended."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                state, _, own, *_ = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(own) == group and state != "Z":
            found.append(int(entry))
    return found


def test_ctrl_c_before_there_is_a_graph_writes_nothing(run, tmp_path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("topokit.learned.graph_searches.random_start", interrupt)
    outcome = run("design", "--learn", "-n", 8, "--edges", 9, "-o", "s.json")
    assert (outcome.status, outcome.stderr) == (130, "error: interrupted\n")
    assert not (tmp_path / "s.json").exists()


def test_ctrl_c_while_a_graph_is_searched_keeps_the_sequence(run, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("topokit.learned.learn_on_network", interrupt)
    outcome = run("design", "--learn", "-n", 8, *HOSTS, "--time-limit", 1, "-o", "s.json")
    assert outcome.status == 130
    assert Schedule.load("s.json").provenance["search"]["stopped"] == "interrupt"


def test_learned_graphs_are_symmetric(run):
    schedule, _ = learn(run, "-n", 6, "--max-degree", 2, "--undirected")
    assert schedule.claims.symmetric
