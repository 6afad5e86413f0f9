"""``topokit design --learn`` and ``--place``: requests without an answer, each explained in a sentence."""

import pytest

HOSTS = ["--model-size", "10MB", "--bandwidth", "1Gbit/s", "--nodes-per-host", "4"]
SMALL = ["--learn", "-n", "8"]
LEARN_ALONE = [["--edges", "9"], ["--min-edges", "9"], ["--objective", "fiedler"], ["--period", "3"]]


@pytest.mark.parametrize("option", [*LEARN_ALONE, ["--host-edges", "2"], ["--workers", "2"]])
def test_options_of_learn_are_refused_without_it(run, option):
    for topology in ([], ["-t", "ring"]):
        outcome = run("design", "-n", 8, *topology, *option)
        assert outcome.status == 2
        assert f"'{option[0]}': it serves --learn alone: add --learn" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--learn"], 2, "give the number of nodes"),
        ([*SMALL, "-t", "ring"], 2, "give one of the two"),
        ([*SMALL, "-p", "degree=4"], 2, "parameters belong to a topology"),
        ([*SMALL, "--active", "2"], 2, "only teleportation has active nodes"),
        ([*SMALL, "--directed"], 2, "give --graph"),
        ([*SMALL, "--objective", "speed"], 1, "unknown objective 'speed'; known: laplacian, "),
        ([*SMALL, "--objective", "seconds"], 2, "seconds depend on a network"),
        ([*SMALL, "--weights", "heavy"], 1, "unknown weighting 'heavy'; known: "),
        ([*SMALL, "--weights", "given"], 2, "a learned graph carries no weights"),
        ([*SMALL, "--weights", "uniform", "--edges", "9"], 1, "uniform weights need a regular graph"),
        ([*SMALL, "--max-weight", "0.3"], 2, "--weights fdla, fmmc or auto"),
        ([*SMALL, "--width", "0.3", "--weights", "laplacian"], 2, "--weights fdla, fmmc or auto"),
        ([*SMALL, "--period", "auto", "--weights", "fmmc", "--width", "0.3"], 2, "for the smallest SLEM of one graph"),
        ([*SMALL, *HOSTS, "--weights", "fdla", "--no-self-loops"], 2, "the search knows nothing of such limits"),
        ([*SMALL, "--weights", "fmmc", "--max-weight", "0.2"], 2, "the search knows nothing of such limits"),
        ([*SMALL, "--period", "auto", "--workers", "2"], 2, "a sequence of rounds has no such option"),
        ([*SMALL, "--period", "auto", "--objective", "fiedler"], 2, "a sequence of rounds has no such option"),
        ([*SMALL, "--period", "auto", "--edges", "3"], 2, "a sequence of rounds has no such option"),
        ([*SMALL, "--period", "auto", "--weights", "laplacian"], 2, "a sequence has weights of its own"),
        ([*SMALL, "--period", "0"], 2, "a number of rounds or auto, got '0'"),
        ([*SMALL, "--period", "soon"], 2, "a number of rounds or auto, got 'soon'"),
        ([*SMALL, *HOSTS, "--period", "3"], 2, "on a network the search chooses the period"),
        ([*SMALL, "--host-edges", "2"], 2, "give --nodes-per-host too"),
        ([*SMALL, "--nodes-per-host", "4"], 2, "give --host-edges too"),
        ([*SMALL, "--nodes-per-host", "3", "--host-edges", "2"], 1, "8 nodes do not fill hosts of 3"),
        ([*SMALL, "--latency", "1ms"], 2, "give --bandwidth too"),
        ([*SMALL, "--model-size", "1MB"], 2, "give --bandwidth or --links too"),
        ([*SMALL, "--bandwidth", "1Gbit/s"], 2, "give --model-size too"),
        ([*SMALL, "--time-limit", "0"], 2, "--time-limit"),
        ([*SMALL, "--workers", "0"], 2, "--workers"),
        ([*SMALL, "--edges", "6"], 1, "at most 6 edges cannot connect 8 nodes: allow 7 or more"),
        ([*SMALL, "--max-degree", "1"], 1, "raise --max-degree"),
        ([*SMALL, "--max-degree", "3", "--min-edges", "20"], 1, "--min-edges asks for 20 edges"),
        ([*SMALL, "--nodes-per-host", "4", "--host-edges", "0"], 1, "raise --host-edges"),
        (["--learn", "-n", "12", "--nodes-per-host", "4", "--host-edges", "1"], 1, "raise --host-edges"),
        (["--learn", "--graph", "star.csv", "--max-degree", "3"], 1, "--max-degree"),
        (["--learn", "--graph", "two.csv"], 1, "the allowed edges never connect node 2 with node 0"),
        (["--learn", "--graph", "two.csv", "--period", "auto"], 1, "the allowed edges never connect"),
        (["--learn", "--graph", "two.csv", "--directed"], 1, "this graph is directed: leave --directed out"),
        (["--learn", "--graph", "none.csv"], 1, "there is no such file"),
        (["--learn", "--graph", "star.csv", "-n", "9"], 1, "star.csv has 5 nodes"),
        (["--learn", "--links", "none.csv", "-n", "4", "--model-size", "1MB"], 1, "there is no such file"),
        (["-n", "8", "--place"], 2, "places depend on a network"),
        ([*SMALL, "--place"], 2, "places depend on a network"),
        (["-t", "one-peer-exponential", "-n", "8", *HOSTS], 2, "or placements (--place)"),
        (["-t", "random-matching", "-n", "8", *HOSTS, "--place"], 1, ""),
        (["-t", "ring", "-n", "8", "--time-limit", "3"], 2, "with --learn or --place"),
    ],
)
def test_requests_without_an_answer_are_explained_in_a_sentence(run, tmp_path, arguments, status, message):
    (tmp_path / "two.csv").write_text("source,target\n0,1\n2,3\n")
    (tmp_path / "star.csv").write_text("source,target\n0,1\n0,2\n0,3\n0,4\n")
    outcome = run("design", *arguments, "-o", "s.json")
    assert outcome.status == status, outcome.stderr
    assert message in outcome.stderr
    assert outcome.stderr.count("error: ") == 1
    assert len(outcome.stderr.splitlines()) <= 2  # the second line is where to read more
    assert not (tmp_path / "s.json").exists()
