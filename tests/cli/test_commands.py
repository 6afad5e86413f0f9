"""What each command does when all is well, and the checks of `topokit analyze`."""

import csv
import io
import json
from math import cos, pi

import networkx as nx
import numpy as np
import pytest
from scipy import sparse

from topokit.designer import design
from topokit.metrics.active_nodes import optimal_active_nodes
from topokit.network import Network
from topokit.recommender import recommend
from topokit.registry import TOPOLOGIES, WEIGHTS
from topokit.schedule import Schedule

CLOSED_FORM_GAPS = {
    # topology: (options, spectral gap) at 16 nodes
    "ring": (["--weights", "uniform"], 2 / 3 * (1 - cos(2 * pi / 16))),
    "exponential": ([], 2 / (1 + 4)),
    "hypercube": (["--weights", "uniform"], 2 / (1 + 4)),
    "star": (["--weights", "metropolis-hastings"], 1 / 16),
    "torus": (["-p", "rows=4"], 2 / 5 * (1 - cos(2 * pi / 4))),
}


def test_one_peer_exponential_of_16_passes_require_exact(run):
    assert run("design", "--topology", "one-peer-exponential", "--nodes", 16, "-o", "s.json").status == 0
    outcome = run("analyze", "s.json", "--require", "exact")
    assert outcome.status == 0
    assert "exact after 4 rounds, proved" in outcome.stdout
    assert outcome.stderr == ""


def test_one_peer_exponential_of_12_fails_require_exact_with_a_witness(run):
    run("design", "--topology", "one-peer-exponential", "--nodes", 12, "-o", "s.json")
    outcome = run("analyze", "s.json", "--require", "exact")
    assert outcome.status == 3
    assert "contraction             0.2091 per period" in outcome.stdout  # the results are printed all the same
    assert outcome.stderr.startswith("error: one-peer-exponential-12: not exact after 4 rounds: node 0 holds 1/8")
    assert "instead of 1/12" in outcome.stderr
    assert "0.2091" in outcome.stderr


@pytest.mark.parametrize(
    ("check", "status", "message"),
    [
        (["--min-gap", "0.32"], 0, None),
        (["--min-gap", "0.33"], 3, "the gap per round is 0.3238, at least 0.33 was asked for"),
        (["--max-contraction", "0.21"], 0, None),
        (["--max-contraction", "0.2"], 3, "the contraction is 0.2091 per period, at most 0.2 was asked for"),
        (["--require", "doubly-stochastic", "--require", "nonnegative", "--require", "connected"], 0, None),
        (["--require", "symmetric"], 3, "not symmetric: in round 0 W[0, 1] is 1/2 and W[1, 0] is 0"),
    ],
)
def test_checks_name_the_number_found(run, check, status, message):
    text = design("one-peer-exponential", 12).dumps()
    outcome = run("analyze", "-", *check, stdin=text)
    assert outcome.status == status
    assert outcome.stderr == ("" if message is None else f"error: one-peer-exponential-12: {message}\n")


def test_all_failed_checks_of_all_files_are_named(run):
    for name in ("ring", "star"):
        design(name, 16).save(f"{name}.json")
    outcome = run("analyze", "ring.json", "star.json", "--require", "exact", "--min-gap", "0.06")
    assert outcome.status == 3
    lines = outcome.stderr.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["error", "ring-16", "star-16"]
    assert "ring-16: not exact" in lines[0]
    assert "gap per round is 0.05075" in lines[1]


@pytest.mark.parametrize("name", CLOSED_FORM_GAPS)
def test_analyze_json_agrees_with_the_closed_forms(run, name):
    options, gap = CLOSED_FORM_GAPS[name]
    assert run("design", "--topology", name, "--nodes", 16, *options, "-o", "s.json").status == 0
    report = json.loads(run("analyze", "s.json", "--json").stdout)
    assert report["spectral_gap"] == pytest.approx(gap, abs=1e-9)
    assert report["slem"] == pytest.approx(1 - gap, abs=1e-9)
    assert report["beta"] == pytest.approx(1 - gap, abs=1e-9)
    assert report["contraction"] == pytest.approx(1 - gap, abs=1e-9)


def test_analyze_json_has_one_line_a_file(run):
    design("ring", 4).save("a.json")
    design("ring", 4).save("b.json")
    lines = run("analyze", "a.json", "b.json", "--json").stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["ring-4 (a.json)", "ring-4 (b.json)"]


def test_analyze_takes_a_seed_and_draws(run, tmp_path):
    design("random-regular", 16).save("s.json")
    one, two = (json.loads(run("analyze", "s.json", "--json", "--seed", s).stdout) for s in (1, 2))
    assert (one["rounds_to_shrink"]["seed"], two["rounds_to_shrink"]["seed"]) == (1, 2)
    outcome = run("analyze", "s.json", "--plot", "spectrum.png")
    assert outcome.stderr == "wrote spectrum.png\n"
    assert (tmp_path / "spectrum.png").read_bytes().startswith(b"\x89PNG")


def test_design_without_a_topology_ranks_and_takes_the_best(run, tmp_path):
    outcome = run("design", "--nodes", 16, "-o", "s.json")
    assert outcome.status == 0
    lines = outcome.stdout.splitlines()
    assert lines[1].split()[:2] == ["1", "one-peer-hypercube"]
    assert len(lines) == 1 + sum(entry.ranked for entry in TOPOLOGIES.values()) + 1
    assert "needs the fewest messages" in lines[-1]
    assert outcome.stderr == "wrote s.json\n"
    assert Schedule.load(tmp_path / "s.json").provenance["topology"] == "one-peer-hypercube"


def test_design_json_says_what_was_chosen_and_why(run):
    values = json.loads(run("design", "--nodes", 12, "--json").stdout)
    assert (values["best"], values["nodes"], values["period"], values["file"]) == ("base-2", 12, 5, None)
    assert values["hash"] == design("base-2", 12).content_hash
    assert values["ranking"][0]["name"] == values["best"]
    names = [TOPOLOGIES.resolve(entry["name"])[0].name for entry in values["ranking"]]
    assert sorted(names) == sorted(entry.name for entry in TOPOLOGIES.values() if entry.ranked)
    named = json.loads(run("design", "--nodes", 12, "--topology", "ring", "--json").stdout)
    assert "ranking" not in named


def test_design_writes_nothing_without_out(run, tmp_path):
    outcome = run("design", "--nodes", 8, "--topology", "ring")
    assert outcome.stdout.startswith("ring-8: 1 round, a node sends at most 2 messages in each; the period contracts")
    assert "nothing is written" in outcome.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["s.json", "s.json.gz", "s.npz"])
def test_design_writes_every_schedule_format(run, tmp_path, target):
    run("design", "--nodes", 8, "--topology", "torus", "-o", target)
    assert Schedule.load(tmp_path / target).content_hash == design("torus", 8).content_hash


def test_design_to_standard_output_keeps_the_ranking_off_it(run):
    outcome = run("design", "--nodes", 12, "-o", "-")
    assert Schedule.loads(outcome.stdout).nodes == 12
    assert "needs the fewest messages" in outcome.stderr
    assert outcome.stdout == design("base-2", 12).dumps()


def test_design_passes_parameters_weights_and_seed(run, tmp_path):
    arguments = ["--topology", "random-regular", "--nodes", 12, "-p", "degree=3", "--seed", 7]
    run("design", *arguments, "--weights", "laplacian", "-o", "s.json")
    expected = design("random-regular", 12, weights="laplacian", degree=3, seed=7)
    assert Schedule.load(tmp_path / "s.json").content_hash == expected.content_hash


def test_design_takes_a_graph_from_a_file(run, tmp_path):
    nx.write_graphml(nx.petersen_graph(), tmp_path / "petersen.graphml")
    outcome = run("design", "--graph", "petersen.graphml", "--weights", "uniform", "-o", "s.json")
    assert outcome.status == 0
    schedule = Schedule.load(tmp_path / "s.json")
    assert schedule.name == "petersen-10"
    assert schedule.rounds[0].nonzeros == 40


def test_active_nodes_compares_inner_topologies(run):
    outcome = run("active-nodes", "--nodes", 25, "--iterations", 100_000, "--inner", "ring", "--inner", "complete")
    header, ring, complete = outcome.stdout.splitlines()
    assert header.split()[:3] == ["inner", "best", "bound"]
    best = optimal_active_nodes(25, "ring", iterations=100_000)
    assert ring.split()[:4] == ["ring", str(best.active), f"{best.bound:.4g}", str(best.closed_form)]
    assert complete.split()[:2] == ["complete", "25"]
    [found] = json.loads(run("active-nodes", "-n", 25, "-T", 100_000, "--inner", "ring", "--json").stdout)
    assert (found["active"], found["counts"], found["bounds"]) == (
        best.active,
        list(range(1, 26)),
        pytest.approx(best.bounds.tolist()),
    )


def test_design_finds_the_number_of_active_nodes(run, tmp_path):
    teleportation = ("design", "--topology", "teleportation", "--nodes", 25, "-p", "inner=ring")
    outcome = run(*teleportation, "--active", "auto", "--iterations", 100_000, "-o", "t.json")
    best = optimal_active_nodes(25, "ring", iterations=100_000).active
    assert f"active nodes: {best} of 25 on ring" in outcome.stderr
    assert [team.active for team in Schedule.load(tmp_path / "t.json").rule.teams] == [best]
    assert run(*teleportation, "--active", "1,2,4", "-o", "s.json").status == 0
    assert [team.active for team in Schedule.load(tmp_path / "s.json").rule.teams] == [1, 2, 4]


def test_design_ranks_by_seconds_on_a_network(run):
    network = ("--model-size", "100MB", "--bandwidth", "1Gbit/s", "--nodes-per-host", 4)
    outcome = run("design", "--nodes", 16, *network)
    assert outcome.stdout.split("\n")[0].split()[6] == "seconds"
    assert "s for a ring all-reduce" in outcome.stdout
    found = json.loads(run("design", "--nodes", 16, *network, "--json").stdout)
    assert (
        found["best"]
        == recommend(16, network=Network.uniform(16, "1Gbit/s", nodes_per_host=4), message_bytes="100MB").best.name
    )
    assert "a network decides between topologies" in run("design", "-t", "ring", "-n", 16, *network).stderr


def test_analyze_writes_a_page(run, tmp_path):
    design("ring", 8).save("ring.json")
    design("random-matching", 8).save("matching.json")
    outcome = run("analyze", "ring.json", "matching.json", "--html", "report.html")
    assert (outcome.status, outcome.stderr) == (0, "wrote report.html\n")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    assert "ring-8" in page
    assert "random-matching-8" in page


def test_compare_shows_names_and_files_side_by_side(run):
    design("ring", 16).save("mine.json")
    outcome = run("compare", "ring", "one-peer-exponential", "mine.json", "--nodes", 16, "--plot", "c.svg")
    assert outcome.status == 0
    header, *rows = outcome.stdout.splitlines()
    assert header.startswith("schedule")
    labels = [" ".join(row.split()[:-12]) for row in rows]
    assert labels == ["ring-16 (ring)", "one-peer-exponential-16", "ring-16 (mine.json)"]
    _, degree, period, gap, contraction, exact, neighbours, worst, simulated, messages, *_ = rows[1].split()
    assert (degree, period, gap, contraction, exact) == ("1", "4", "1", "0", "proved")
    assert (worst, simulated, messages) == ("4", "4", "1")
    assert 1 < float(neighbours) < 16
    assert outcome.stderr == "wrote c.svg\n"


def test_compare_for_machines_agrees_with_analyze(run):
    names = ["ring", "torus", "one-peer-exponential"]
    reports = json.loads(run("compare", *names, "--nodes", 16, "--json").stdout)
    rows = list(csv.DictReader(io.StringIO(run("compare", *names, "--nodes", 16, "--csv").stdout)))
    for name, report, row in zip(names, reports, rows, strict=True):
        design(name, 16).save("s.json")
        assert report == json.loads(run("analyze", "s.json", "--json").stdout)
        assert float(row["contraction"]) == report["contraction"]
        assert int(row["worst_case_rounds"]) == report["rounds_to_shrink"]["worst_case"]


def test_compare_predicts_seconds_on_a_network_and_shows_all_reduces(run):
    network = ("--model-size", "100MB", "--bandwidth", "100MB/s", "--latency", "1ms")
    rows = list(csv.DictReader(io.StringIO(run("compare", "ring", "--nodes", 8, *network, "--csv").stdout)))
    ring, reduce, tree = rows
    assert float(ring["seconds_per_round"]) == pytest.approx(2.001)
    assert float(ring["bytes_per_node"]) == 2e8
    assert (reduce["name"], float(reduce["seconds_per_round"])) == ("all-reduce (ring)", pytest.approx(14 * 0.126))
    assert tree["name"] == "all-reduce (tree)"
    [report, *_] = json.loads(run("compare", "ring", "--nodes", 8, *network, "--json").stdout)
    assert report["prediction"]["iteration_seconds"] == pytest.approx(2.001)


def test_compare_takes_a_network_from_a_links_file(run, tmp_path):
    Network.uniform(8, "50MB/s").save(tmp_path / "links.csv")
    outcome = run("compare", "ring", "--nodes", 8, "--links", "links.csv", "--model-size", "100MB", "--csv")
    assert float(next(csv.DictReader(io.StringIO(outcome.stdout)))["seconds_per_round"]) == pytest.approx(4)
    assert "8 nodes" in run("compare", "ring", "--nodes", 9, "--links", "links.csv", "--model-size", "1MB").stderr


def test_compare_reads_parameters_after_colons(run):
    outcome = run("compare", "random-regular:degree=6", "circulant:offsets=1,4", "--nodes", 16, "--csv")
    assert [row["max_degree"] for row in csv.DictReader(io.StringIO(outcome.stdout))] == ["6", "4"]
    assert "no parameter 'colour'" in run("compare", "ring:colour=red", "--nodes", 8).stderr


def test_compare_writes_a_table_for_latex(run):
    lines = run("compare", "ring", "base-2", "--nodes", 12, "--latex").stdout.splitlines()
    assert lines[0].startswith(r"\begin{tabular}{lrr")
    assert lines[-1] == r"\end{tabular}"
    assert {line.count("&") for line in lines if "&" in line} == {12}
    assert "_" not in "".join(lines).replace("$n_W", "").replace("$T_", "")


def test_compare_gives_weights_to_graphs_only(run):
    outcome = run("compare", "star", "one-peer-exponential", "--nodes", 8, "--weights", "laplacian", "--json")
    star, _ = json.loads(outcome.stdout)
    assert star["spectral_gap"] == pytest.approx(2 / 9)  # eigenvalues 1 and n of the star's Laplacian


@pytest.mark.parametrize("what", ["graph", "spectrum", "consensus"])
def test_plot_draws_each_kind(run, tmp_path, what):
    design("ring", 8).save("ring.json")
    outcome = run("plot", "ring.json", "-", "--what", what, "-o", "p.png", stdin=design("torus", 8).dumps())
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, "", "wrote p.png\n")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_export_writes_one_file_or_one_a_round(run, tmp_path):
    schedule = design("one-peer-exponential", 8)
    schedule.save("s.json")
    outcome = run("export", "s.json", "--to", "npz", "-o", "w.npz", "--rounds", "1:3")
    assert outcome.stderr == "wrote w.1.npz\nwrote w.2.npz\n"
    np.testing.assert_array_equal(sparse.load_npz(tmp_path / "w.2.npz").toarray(), schedule.rounds[2].to_dense())
    assert run("export", "s.json", "--to", "node-link", "-o", "g.json", "--rounds", "4").status == 0
    graph = nx.node_link_graph(json.loads((tmp_path / "g.json").read_text()), edges="edges")
    assert graph.edges[2, 0]["weight"] == 0.5  # round 4 is round 1: node 0 hears of node 2
    lists = json.loads(run("export", "s.json", "--to", "sendrecv", "-o", "-").stdout)
    assert lists["rounds"][2]["nodes"][0]["sends"] == [4]


def test_list_names_everything_in_the_registries(run):
    for what, registry in (("topologies", TOPOLOGIES), ("weights", WEIGHTS)):
        entries = json.loads(run("list", what, "--json").stdout)
        assert sorted(entry["name"] for entry in entries) == sorted(registry)
        assert all(entry["summary"] and entry["source"] for entry in entries)
        text = run("list", what).stdout
        assert all(name in text for name in registry)
    head, *rows = run("list", "topologies").stdout.splitlines()
    assert head.split() == ["name", "exists", "for", "degree", "period", "exact", "directed", "source"]
    assert len(rows) == len(TOPOLOGIES)


def test_list_tells_everything_about_one_topology(run):
    text = run("list", "topologies", "base-3").stdout
    assert text.startswith("base\n")
    for words in ("exists for", "period", "exact averaging", "also named      base-<peers + 1>", "-p peers=1"):
        assert words in text
    (entry,) = json.loads(run("list", "topologies", "random-regular", "--json").stdout)
    assert entry["parameters"] == {"degree": 4}
    assert entry["described"] == {"degree": "Number of neighbours of every node."}
    outcome = run("list", "weights", "uniform")
    assert (outcome.status, "only topologies are described" in outcome.stderr) == (2, True)


@pytest.mark.parametrize("entry", TOPOLOGIES.values(), ids=lambda entry: entry.name)
def test_every_parameter_of_every_topology_is_described(run, entry):
    (listed,) = json.loads(run("list", "topologies", entry.name, "--json").stdout)
    assert listed["described"].keys() == listed["parameters"].keys()
    assert all(listed["described"].values())


@pytest.mark.parametrize("what", ["datasets", "models"])
def test_list_knows_the_trainer(run, what):
    entries = json.loads(run("list", what, "--json").stdout)
    assert entries
    assert all(set(entry) == {"name", "summary"} for entry in entries)


def test_quiet_drops_notes_and_keeps_results(run):
    outcome = run("-q", "design", "--nodes", 8, "--topology", "ring", "-o", "s.json")
    assert outcome.stdout
    assert outcome.stderr == ""
    assert "wrote" in run("design", "--nodes", 8, "--topology", "ring", "-o", "s.json").stderr


def test_version(run):
    import topokit

    outcome = run("--version")
    assert (outcome.status, outcome.stdout) == (0, f"topokit {topokit.__version__}\n")


def test_a_csv_graph_can_be_directed(run, tmp_path):
    (tmp_path / "g.csv").write_text("source,target\n0,1\n1,2\n2,0\n0,2\n")
    run("design", "--graph", "g.csv", "--directed", "-o", "one-way.json")
    assert Schedule.load(tmp_path / "one-way.json").provenance["weights"] == "balanced"
    outcome = run("design", "--graph", "g.csv", "--topology", "matcha", "--weights", "laplacian")
    assert (outcome.status, "brings its own weights" in outcome.stderr) == (2, True)
