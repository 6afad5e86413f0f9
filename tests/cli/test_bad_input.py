"""Bad input: a message of one or two lines that names the place and what would be right, and no traceback."""

import json

import networkx as nx
import pytest

from topokit.designer import design
from topokit_cli import design as design_command
from topokit_cli.failures import explain
from topokit_cli.main import main

NAMED = ["design", "--nodes", "10", "--topology"]

CASES = {
    # what is wrong: (arguments, exit status, what the message must say)
    "size": (
        ["design", "--topology", "hypercube", "--nodes", "12"],
        1,
        "hypercube needs a power of two, got 12: 8 or 16",
    ),
    "prime torus": (["design", "--topology", "torus", "--nodes", "13"], 1, "got 13: 12 or 14 would do"),
    "odd regular": (
        [*NAMED[:2], "9", *NAMED[3:], "random-regular", "-p", "degree=3"],
        1,
        "needs an even number of nodes",
    ),
    "misspelt topology": ([*NAMED, "hipercube"], 1, "unknown topology 'hipercube'; did you mean 'hypercube'?"),
    "misspelt weights": ([*NAMED, "ring", "--weights", "unifrom"], 1, "did you mean 'uniform'?"),
    "weights of a sequence": ([*NAMED, "one-peer-exponential", "--weights", "uniform"], 1, "takes no weights"),
    "uniform on a star": ([*NAMED, "star", "--weights", "uniform"], 1, "need a regular graph"),
    "parameter without value": (
        [*NAMED, "random-regular", "-p", "degree"],
        1,
        "name=value, for instance degree=4; got 'degree'",
    ),
    "parameter of the wrong kind": (
        [*NAMED, "random-regular", "-p", "degree=x"],
        1,
        "degree must be a whole number, got 'x'",
    ),
    "number of the wrong kind": (
        [*NAMED, "erdos-renyi", "-p", "probability=x"],
        1,
        "probability must be a number, got 'x'",
    ),
    "unknown parameter": (
        [*NAMED, "ring", "-p", "degree=3"],
        1,
        "ring has no parameter 'degree'; its parameters: none",
    ),
    "parameter twice": ([*NAMED, "random-regular", "-p", "degree=3", "-p", "degree=4"], 1, "'degree' is given twice"),
    "seed as a parameter": ([*NAMED, "random-regular", "-p", "seed=3"], 1, "give the seed by --seed"),
    "too many peers": ([*NAMED, "ring", "--max-degree", "1"], 1, "2 peers in a round, more than --max-degree 1"),
    "one way": ([*NAMED, "exponential", "--undirected"], 1, "not symmetric, and --undirected asks for exchanges"),
    "a name that says its number": ([*NAMED, "base-3", "-p", "peers=2"], 1, "says peers = 2 already"),
    "offsets in words": ([*NAMED, "circulant", "-p", "offsets=a,b"], 1, "offsets must be a whole number, got 'a'"),
    "neither true nor false": ([*NAMED, "circulant", "-p", "directed=1"], 1, "directed must be true or false, got '1'"),
    "another size": (
        ["design", "--topology", "hypercube", "--nodes", "12"],
        1,
        "hypercube needs a power of two, got 12: 8 or 16 would do; base-2 exists for 12",
    ),
    "drawn rounds without a choice": (
        ["export", "drawn.json", "--to", "npz", "-o", "x"],
        1,
        "draws its rounds at random (sampled) and has no period; name the rounds wanted",
    ),
    "exact of drawn rounds": (
        ["analyze", "drawn.json", "--require", "exact"],
        3,
        "exact averaging is not known: rounds drawn at random have no period",
    ),
    "spectrum of drawn rounds": (
        ["plot", "drawn.json", "--what", "spectrum", "-o", "x.png"],
        1,
        "draws its rounds at random: it has no one spectrum",
    ),
    "schedule suffix": ([*NAMED, "ring", "-o", "s.txt"], 1, "must end in .json, .json.gz or .npz"),
    "folder": ([*NAMED, "ring", "-o", "no/s.json"], 1, "cannot write no/s.json: the folder no does not exist"),
    "no graph": (["design", "--graph", "no.csv"], 1, "cannot read no.csv: there is no such file"),
    "graph size": (
        ["design", "--graph", "petersen.graphml", "--nodes", "9"],
        1,
        "has 10 nodes, but --nodes asks for 9",
    ),
    "disconnected graph": (["design", "--graph", "two.csv"], 1, "disconnected"),
    "no file": (["analyze", "no.json"], 1, "cannot read no.json: there is no such file"),
    "file is a folder": (["analyze", "."], 1, "cannot read .: it is a folder"),
    "not JSON": (["analyze", "petersen.graphml"], 1, "petersen.graphml: not JSON: line 1"),
    "lie": (["analyze", "lie.json"], 1, "lie.json: claims exact averaging after 1 round, but in the product"),
    "standard input twice": (["analyze", "-", "-"], 1, "standard input (-) can be read once"),
    "empty standard input": (["analyze", "-"], 1, "standard input: the file is empty"),
    "figure suffix": (["plot", "ring.json", "-o", "ring.bmp"], 1, "the name must end in .png, .svg or .pdf"),
    "compare sizes": (["compare", "ring.json", "--nodes", "9"], 1, "ring.json has 10 nodes, but --nodes asks for 9"),
    "compare a typo": (["compare", "rings", "--nodes", "9"], 1, "did you mean 'ring'?"),
    "backward rounds": (["export", "ring.json", "--to", "npz", "-o", "x", "--rounds", "3:1"], 1, "0 <= a < b"),
    "no rounds": (["export", "ring.json", "--to", "npz", "-o", "x", "--rounds", "a:b"], 1, "got 'a:b'"),
    "too many rounds": (
        ["export", "ring.json", "--to", "sendrecv", "-o", "x", "--rounds", ":1000000"],
        1,
        "at most 100000",
    ),
    "many files to a pipe": (["export", "ring.json", "--to", "npz", "-o", "-", "--rounds", "0:2"], 1, "--rounds 0:1"),
    "no nodes": (["design"], 2, "give the number of nodes (or --graph FILE)"),
    "one node": (["design", "--nodes", "1"], 2, "greater than or equal to 2"),
    "nodes in words": (["design", "--nodes", "ten"], 2, "'--nodes'"),
    "topology and graph": (
        ["design", "--topology", "ring", "--graph", "g.csv"],
        2,
        "only matcha, pairwise can be designed on a graph",
    ),
    "parameters of nothing": (["design", "--nodes", "8", "-p", "degree=3"], 2, "give --topology"),
    "weights of nothing": (["design", "--nodes", "8", "--weights", "uniform"], 2, "give --topology or --graph"),
    "two results": (["design", "--nodes", "8", "--json", "-o", "-"], 2, "both write to standard output"),
    "two formats": (["compare", "ring", "--nodes", "8", "--json", "--csv"], 2, "one of --json, --csv and --latex"),
    "active nodes of a ring": (
        ["design", "-t", "ring", "-n", "8", "--active", "4"],
        2,
        "only teleportation has active",
    ),
    "the best for how long": (["design", "-t", "teleportation", "-n", "8", "--active", "auto"], 2, "--iterations T"),
    "iterations of what": (["design", "-t", "ring", "-n", "8", "--iterations", "9"], 2, "serves --active auto alone"),
    "no such inner": (["active-nodes", "-n", "8", "-T", "9", "--inner", "rings"], 1, "did you mean 'ring'?"),
    "seconds of what": (["compare", "ring", "-n", "8", "--bandwidth", "1Gbit/s"], 2, "give --model-size too"),
    "a network by half": (["compare", "ring", "-n", "8", "--latency", "1ms"], 2, "give --bandwidth too, or a links"),
    "two networks": (["compare", "ring", "-n", "8", "--links", "l.csv", "--latency", "1ms"], 2, "says it all"),
    "compare without nodes": (["compare", "ring"], 2, "give the number of nodes for ring"),
    "no files": (["analyze"], 2, "Missing argument 'FILE...'"),
    "unknown property": (["analyze", "ring.json", "--require", "exakt"], 2, "not one of 'exact', 'symmetric'"),
    "impossible gap": (["analyze", "ring.json", "--min-gap", "1.5"], 2, "less than or equal to 1"),
    "no number": (["analyze", "ring.json", "--max-contraction", "nan"], 2, "greater than or equal to 0"),
    "unknown command": (["anlyze"], 2, "No such command 'anlyze'. Did you mean 'analyze'?"),
    "unknown option": (["analyze", "ring.json", "--jsn"], 2, "No such option: --jsn"),
    "unknown list": (["list", "topology"], 2, "not one of 'topologies', 'weights'"),
    "no target": (["plot", "ring.json"], 2, "Missing option '--out' / '-o'"),
}


@pytest.fixture
def files(tmp_path):
    design("ring", 10).save(tmp_path / "ring.json")
    design("random-matching", 10).save(tmp_path / "drawn.json")
    nx.write_graphml(nx.petersen_graph(), tmp_path / "petersen.graphml")
    (tmp_path / "two.csv").write_text("a,b\nc,d\n")
    lie = json.loads(design("ring", 10).dumps())
    lie["claims"]["exact_averaging"] = True
    del lie["hash"]
    (tmp_path / "lie.json").write_text(json.dumps(lie))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("files")
def test_the_message_is_short_and_says_what_would_be_right(run, case):
    arguments, status, message = CASES[case]
    outcome = run(*arguments)
    assert outcome.status == status
    assert message in outcome.stderr
    assert outcome.stderr.startswith("error: ")
    assert len(outcome.stderr.splitlines()) <= 2
    assert "Traceback" not in outcome.stderr
    if status == 2:
        assert outcome.stderr.splitlines()[1].startswith("  see: topokit")


def test_no_command_shows_the_help_and_fails(run):
    outcome = run()
    assert outcome.status == 2
    assert outcome.stdout == ""
    assert "Commands:" in outcome.stderr


def test_a_missing_extra_names_what_to_install():
    for module, extra in (("matplotlib.figure", "plot"), ("torch", "train"), ("sklearn.datasets", "train")):
        status, message = explain(ModuleNotFoundError(f"No module named {module!r}", name=module))
        assert status == 1
        assert f"pip install 'topokit[{extra}]'" in message
    assert explain(ModuleNotFoundError("No module named 'topokit.nothing'", name="topokit.nothing")) is None


def test_what_the_system_refuses_is_explained():
    assert explain(PermissionError(13, "Permission denied", "/s.json")) == (1, "/s.json: Permission denied")
    assert explain(OSError(28, "No space left on device")) == (1, "No space left on device")
    assert "not enough memory" in explain(MemoryError())[1]


def test_a_bug_is_not_hidden(monkeypatch):
    def broken(*_arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(design_command, "write_schedule", broken)
    monkeypatch.setattr("sys.excepthook", print)
    with pytest.raises(ZeroDivisionError):
        main(["design", "--nodes", "4", "--topology", "ring", "-o", "s.json"])
