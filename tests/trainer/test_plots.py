"""Pictures of runs: written where they can be, refused with a reason where not."""

import json
import re
from pathlib import Path

import pytest
from problems import blobs, linear, settings

from topokit.designer import design
from topokit.errors import InputError
from topokit_trainer import train
from topokit_trainer.plots import column, plot_run, plot_runs, positive

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for name in ("ring", "one-peer-exponential"):
        config = settings(steps=6, eval_every=2, perturb=0.1, out=root / name)
        train(design(name, 4), config, model=linear, data=blobs())
    config = settings(steps=6, eval_every=2, algorithm="allreduce", out=root / "allreduce")
    train(design("ring", 4), config, model=linear, data=blobs())
    return root


@pytest.mark.parametrize(
    ("names", "suffix", "signature"),
    [(["ring"], "png", b"\x89PNG"), (["ring", "one-peer-exponential", "allreduce"], "svg", b"<?xml")],
)
def test_runs_are_drawn(runs, tmp_path, names, suffix, signature):
    path = tmp_path / f"plot.{suffix}"
    plot_runs([runs / name for name in names], path)
    content = path.read_bytes()
    assert content.startswith(signature)
    assert len(content) > 5000
    plot_runs([runs / name for name in names], path)
    assert path.read_bytes() == content, "the same runs give the same picture"


def texts(svg):
    """Comments in the SVG say what text its paths draw."""
    return re.findall(r"<!-- (.*?) -->", svg.read_text())


def test_the_picture_of_one_run_shows_measured_and_predicted_contraction(runs, tmp_path):
    plot_runs([runs / "ring"], tmp_path / "plot.svg")
    drawn = texts(tmp_path / "plot.svg")
    for text in ("measured", "predicted at worst", "predicted for random directions", "worst node", "Loss", "ring"):
        assert text in drawn


def test_several_runs_are_told_apart_by_name(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(runs / "ring")
    plot_runs([Path(), Path("../allreduce")], tmp_path / "plot.svg")
    assert {"ring", "allreduce", "Consensus distance"} <= set(texts(tmp_path / "plot.svg"))


def test_a_finished_run_is_drawn_into_its_folder(runs):
    lines = []
    plot_run(runs / "ring", lines.append)
    assert (runs / "ring" / "plot.png").stat().st_size > 5000
    assert lines == []


@pytest.mark.parametrize("count", [1, 2])
def test_missing_runs_are_named(runs, tmp_path, count):
    with pytest.raises(InputError, match=r"nowhere holds no run: .*metrics\.jsonl is missing"):
        plot_runs([runs / "ring", tmp_path / "nowhere"][-count:], tmp_path / "plot.png")
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="holds no evaluation yet"):
        plot_runs([tmp_path], tmp_path / "plot.png")
    with pytest.raises(InputError, match=r"must end in \.png, \.svg or \.pdf"):
        plot_runs([runs / "ring"], tmp_path / "plot.txt")
    assert not list(tmp_path.glob("plot.*"))


def test_what_cannot_be_drawn_is_reported_and_no_error(tmp_path):
    lines = []
    plot_run(tmp_path / "nowhere", lines.append)
    assert len(lines) == 1
    assert lines[0].startswith("note: no plot was drawn: ")


def test_runs_with_gaps_are_drawn(runs, tmp_path):
    rows = [json.loads(line) for line in (runs / "ring" / "metrics.jsonl").read_text().splitlines()]
    for row in rows[1:]:
        row.update(loss=None, accuracy=None, consensus_distance=None, contraction=None)
    rows[0]["consensus_distance"] = 0.0
    for name, kept in (("diverged", rows), ("short", rows[:1])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
        plot_runs([tmp_path / name], tmp_path / f"{name}.svg")
    plot_runs([tmp_path / "diverged", runs / "ring"], tmp_path / "both.svg")
    assert "diverged" in texts(tmp_path / "both.svg")


@pytest.mark.parametrize(
    ("against", "label"), [("step", "step"), ("bytes", "megabytes sent by a node"), ("seconds", "seconds")]
)
def test_several_runs_are_drawn_over_what_is_asked_for(runs, tmp_path, against, label):
    plot_runs([runs / "ring", runs / "ring"], tmp_path / "both.svg", against)
    labels = ("step", "megabytes sent by a node", "seconds")
    assert [label for label in labels if label in texts(tmp_path / "both.svg")] == [label]


def test_values_that_cannot_be_shown_are_left_out():
    values = column([{"x": 1}, {"x": None}, {}, {"x": -2.5}], "x")
    assert [v for v in values if v == v] == [1.0, -2.5]
    assert [v for v in positive([1.0, 0.0, -1.0]) if v == v] == [1.0]
