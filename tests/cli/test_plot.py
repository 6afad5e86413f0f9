"""``topokit plot``: which rounds, and where the nodes are."""

import pytest

import topokit.pictures
from topokit.designer import design


@pytest.fixture
def drawn(monkeypatch):
    """Keep the figures that are saved."""
    figures, save = [], topokit.pictures.save_figure

    def keep(figure, path):
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(topokit.pictures, "save_figure", keep)
    return figures


def test_rounds_and_layout_are_chosen(run, tmp_path, drawn):
    design("base-2", 12).save(tmp_path / "s.json")
    outcome = run("plot", "s.json", "--rounds", "1:3", "--layout", "spectral", "-o", "p.svg")
    assert (outcome.status, outcome.stderr) == (0, "wrote p.svg\n")
    assert [axes.get_xlabel() for axes in drawn[0].axes] == ["round 1 of 5", "round 2 of 5"]
    assert run("plot", "s.json", "--rounds", "7", "-o", "p.svg").status == 0
    assert [axes.get_xlabel() for axes in drawn[1].axes] == ["round 7 of 5"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--rounds", "3:3"], 1, "--rounds is a:b with 0 <= a < b, for instance 0:4"),
        (["--rounds", "0:90"], 1, "90 rounds do not fit one figure; draw at most 60"),
        (["--rounds", "0:2", "--what", "consensus"], 2, "belongs to --what graph, not to --what consensus"),
        (["--layout", "circle", "--what", "spectrum"], 2, "belongs to --what graph, not to --what spectrum"),
        (["--layout", "star"], 2, "'star' is not one of"),
    ],
)
def test_what_cannot_be_drawn_is_refused(run, tmp_path, words, status, message):
    design("ring", 4).save(tmp_path / "s.json")
    outcome = run("plot", "s.json", "-o", "p.png", *words)
    assert outcome.status == status
    assert message in " ".join(outcome.stderr.split())
    assert not (tmp_path / "p.png").exists()


def test_what_runs_are_drawn_against_is_refused_where_nothing_is_drawn(run):
    told = run("compare-runs", "run", "--against", "bytes")
    assert told.status == 2
    assert "'--against': it belongs to --plot" in told.stderr
