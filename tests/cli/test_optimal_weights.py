"""Optimal weights on the command line: certificates, limits of time, Ctrl-C, and requests without an answer."""

import json
import os
import signal
from math import cos, pi

import networkx as nx
import pytest

import topokit_cli.weight_options
from topokit.schedule import Schedule

KARATE = ["--graph", "karate.csv"]
FDLA_OF_KARATE, FMMC_OF_KARATE = 0.924588622, 0.953552320  # re-solved from published problems


@pytest.fixture
def karate(tmp_path):
    lines = "".join(f"{u},{v}\n" for u, v in nx.karate_club_graph().edges)
    (tmp_path / "karate.csv").write_text(f"source,target\n{lines}")


@pytest.mark.parametrize(("weights", "optimum"), [("fdla", FDLA_OF_KARATE), ("fmmc", FMMC_OF_KARATE)])
def test_the_file_carries_a_certificate_that_analyze_checks(run, karate, weights, optimum):
    outcome = run("design", *KARATE, "--weights", weights, "-o", "s.json")
    assert outcome.status == 0
    assert "optimal weights: proved: no " in outcome.stdout
    shown = run("analyze", "s.json")
    assert shown.status == 0
    assert "optimal weights         proved: no " in shown.stdout
    values = json.loads(run("analyze", "s.json", "--json").stdout)
    assert values["slem"] == pytest.approx(optimum, abs=1e-6)
    assert values["optimality"]["lower"] == pytest.approx(optimum, abs=1e-6)
    assert values["optimality"]["width"] <= 1e-6
    assert values["optimality"]["objective"] == weights
    assert values["nonnegative"] == (weights == "fmmc")


def test_auto_takes_nonnegative_weights_only_where_they_cost_nothing(run, karate):
    run("design", *KARATE, "--weights", "auto", "-o", "karate.json")
    assert json.loads(run("analyze", "karate.json", "--json").stdout)["slem"] == pytest.approx(FDLA_OF_KARATE, abs=1e-6)
    # No weight of this grid gains from being negative.
    run("design", "--topology", "grid", "--nodes", "16", "--weights", "auto", "-o", "grid.json")
    grid = json.loads(run("analyze", "grid.json", "--json").stdout)
    assert grid["nonnegative"]
    assert grid["slem"] == pytest.approx(0.824388643, abs=1e-6)


def test_json_leaves_the_numbers_of_the_certificate_out(run):
    facts = json.loads(
        run("design", "--topology", "ring", "--nodes", 9, "--weights", "fdla", "--json", "-o", "s.json").stdout
    )
    c, h = cos(2 * pi / 9), cos(pi / 9)
    assert facts["provenance"]["optimality"]["lower"] == pytest.approx((c + h) / (2 - c + h), abs=1e-8)
    assert "certificate" not in facts["provenance"]["optimality"]


def test_the_same_command_gives_the_same_file(run, karate, tmp_path):
    for name in ("a.json", "b.json"):
        run("design", *KARATE, "--weights", "fmmc", "-o", name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_changed_certificate_fails_the_analysis(run, tmp_path):
    run("design", "--topology", "ring", "--nodes", 9, "--weights", "fdla", "-o", "s.json")
    content = json.loads((tmp_path / "s.json").read_text())
    content["provenance"]["optimality"]["lower"] += 1e-4
    content.pop("hash")
    (tmp_path / "s.json").write_text(json.dumps(content))
    outcome = run("analyze", "s.json")
    assert outcome.status == 1
    assert "the certificate is rejected" in outcome.stderr


def test_progress_tells_the_value_and_the_bound_on_standard_error(run, karate, monkeypatch):
    monkeypatch.setattr(topokit_cli.weight_options, "EVERY", 0.0)
    outcome = run("design", *KARATE, "--weights", "fdla", "--json")
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("interior-point ")]
    assert len(lines) > 5
    assert all(" SLEM 0." in line and "no weights below 0" in line for line in lines)
    json.loads(outcome.stdout)


def test_a_time_limit_keeps_the_best_so_far(run, karate):
    outcome = run("design", *KARATE, "--weights", "fdla", "--time-limit", "0.001", "-o", "s.json")
    assert outcome.status == 0
    schedule = Schedule.load("s.json")
    stored = schedule.provenance["optimality"]
    assert stored["stopped"] == "time"
    assert stored["lower"] < FDLA_OF_KARATE < stored["slem"] <= 0.949635 + 1e-6  # the best constant weight
    assert run("analyze", "s.json").status == 0


def test_ctrl_c_keeps_the_best_so_far_and_says_so(run, karate, monkeypatch):
    ticks = []

    def interrupt(self, progress):
        ticks.append(progress)
        if len(ticks) == 4:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(topokit_cli.weight_options.Ticker, "__call__", interrupt)
    outcome = run("design", *KARATE, "--weights", "fmmc", "-o", "s.json")
    assert outcome.status == 130
    stored = Schedule.load("s.json").provenance["optimality"]
    assert stored["stopped"] == "interrupt"
    assert stored["lower"] < FMMC_OF_KARATE < stored["slem"] <= ticks[-1].upper + 1e-12
    assert run("analyze", "s.json").status == 0


def test_width_decides_when_to_stop(run, karate):
    run("design", *KARATE, "--weights", "fdla", "--width", "0.01", "-o", "s.json")
    stored = Schedule.load("s.json").provenance["optimality"]
    assert 1e-5 < stored["width"] <= 0.01


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--topology", "ring", "-n", "8", "--time-limit", "3"], 2, "--weights fdla, fmmc or auto"),
        (["--topology", "ring", "-n", "8", "--weights", "uniform", "--no-self-loops"], 2, "for optimal weights"),
        (["--topology", "ring", "-n", "8", "--weights", "fdla", "--no-self-loops"], 1, "bipartite"),
        (["--topology", "ring", "-n", "8", "--weights", "fmmc", "--max-weight", "0"], 1, "leave no way to mix"),
        (["--topology", "ring", "-n", "8", "--weights", "fmmc", "--max-weight", "-1"], 2, "--max-weight"),
        (["--topology", "ring", "-n", "8", "--weights", "fdla", "--width", "2"], 2, "between 0 and 1"),
        (["--topology", "star", "-n", "5", "--weights", "fmmc", "--no-self-loops"], 1, "bipartite"),
        (["--graph", "two.csv", "--weights", "fdla"], 1, "disconnected (2 components)"),
        (["--graph", "path.csv", "--directed", "--weights", "fdla"], 1, "not strongly connected"),
        (["--graph", "odd.csv", "--directed", "--weights", "fmmc"], 1, "balanced weights serve"),
    ],
)
def test_requests_without_an_answer_are_explained_in_a_sentence(run, tmp_path, arguments, status, message):
    (tmp_path / "two.csv").write_text("source,target\n0,1\n2,3\n")
    (tmp_path / "path.csv").write_text("source,target\n0,1\n1,2\n")
    (tmp_path / "odd.csv").write_text("source,target\n0,1\n1,2\n2,0\n0,2\n")
    outcome = run("design", *arguments, "-o", "s.json")
    assert outcome.status == status
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not (tmp_path / "s.json").exists()


def test_on_a_network_the_fewest_seconds_count(run, tmp_path):
    lines = "".join(f"{u},{v}\n" for u, v in nx.wheel_graph(9).edges)
    (tmp_path / "wheel.csv").write_text(f"source,target\n{lines}")
    network = ["--bandwidth", "1Gbit/s", "--model-size", "125MB"]
    outcome = run("design", "--graph", "wheel.csv", "--weights", "fmmc", *network, "-o", "s.json")
    assert outcome.status == 0
    stored = Schedule.load("s.json").provenance["optimality"]
    assert stored["seconds"] < 0.5 * stored["seconds_of_the_smallest_slem"]
    assert f"optimal weights: {stored['seconds']:.4g} s" in outcome.stdout
    compared = json.loads(run("compare", "s.json", *network, "--json").stdout)
    assert run("analyze", "s.json").status == 0
    assert compared


@pytest.mark.parametrize("claim", ["yes", {"lower": 0.9, "slem": 0.9, "method": "fdla"}])
def test_a_claim_of_optimality_without_a_certificate_is_refused(run, tmp_path, claim):
    run("design", "--topology", "ring", "-n", 9, "--weights", "fdla", "-o", "s.json")
    content = json.loads((tmp_path / "s.json").read_text())
    content["provenance"]["optimality"] = claim
    content.pop("hash")
    (tmp_path / "s.json").write_text(json.dumps(content))
    outcome = run("analyze", "s.json")
    assert outcome.status == 1
    assert "ring-9: the file claims optimal weights without a certificate" in outcome.stderr


def test_compare_takes_the_options_of_optimal_weights(run, monkeypatch):
    monkeypatch.setattr(topokit_cli.weight_options, "EVERY", 0.0)
    outcome = run("compare", "grid", "ring", "--nodes", 16, "--weights", "fmmc", "--width", "0.01")
    assert outcome.status == 0
    assert "no weights below" in outcome.stderr

    def interrupt(self, progress):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(topokit_cli.weight_options.Ticker, "__call__", interrupt)
    assert run("compare", "grid", "--nodes", 16, "--weights", "fmmc").status == 130


def test_weights_of_a_period(run):
    assert run("design", "--topology", "one-peer-exponential", "-n", 8, "--weights", "fmmc").status == 0
    outcome = run("design", "--topology", "inner-outer-exponential", "-n", 12, "--weights", "fdla", "-o", "s.json")
    assert outcome.status == 0
    assert "optimal weights: the period shrinks errors to 0.3725" in outcome.stdout
    assert run("analyze", "s.json").status == 0


def test_rates_of_pairwise_averaging(run):
    run("design", "--topology", "pairwise", "-n", 12, "-p", "graph=path", "-p", "rates=optimal-mean", "-o", "best.json")
    run("design", "--topology", "pairwise", "-n", 12, "-p", "graph=path", "-o", "equal.json")
    best, equal = (Schedule.load(name).claims.chi1 for name in ("best.json", "equal.json"))
    assert best < equal
    assert Schedule.load("best.json").provenance["connectivity"]["bound"] == pytest.approx(1 / best, rel=1e-4)


def test_auto_on_a_network_is_no_slower_than_either(run):
    seconds = {}
    for weights in ("fmmc", "fdla", "auto"):
        network = ["--bandwidth", "1Gbit/s", "--model-size", "100MB", "--nodes-per-host", 4]
        run("design", "--topology", "grid", "-n", 12, "--weights", weights, *network, "-o", f"{weights}.json")
        seconds[weights] = Schedule.load(f"{weights}.json").provenance["optimality"]["seconds"]
    assert seconds["auto"] in (seconds["fmmc"], seconds["fdla"])
    assert seconds["auto"] <= 1.01 * min(seconds["fmmc"], seconds["fdla"])
