"""``topokit train --search-active``: its table, its JSON, and what it leaves behind."""

import json

from topokit.schedule import Schedule

OPTIONS = ("--steps", "6", "--batch-size", "4", "--eval-every", "6", "--device", "cpu", "--gradients", "loop")


def test_a_table_marks_the_best_and_the_folder_holds_its_model(run, tmp_path):
    run("design", "--topology", "teleportation", "--nodes", "6", "--active", "2", "-p", "inner=ring", "-o", "s.json")
    outcome = run("train", "s.json", "--search-active", *OPTIONS, "--out", "search")
    assert outcome.status == 0, outcome.stderr
    rows = [line.split() for line in outcome.stdout.splitlines()]
    assert rows[0][:2] == ["active", "nodes"]
    assert [row[0] for row in rows[1:]] == ["1", "2", "6"]
    (best,) = (row[0] for row in rows[1:] if row[1] == "*")
    assert f"* least loss: {best} of 6 nodes active, mixing by ring" in outcome.stderr
    folder = tmp_path / "search"
    assert Schedule.load(folder / "schedule.json").rule.active == int(best)
    assert {"averaged-model.pt", "search.json", "together", "everyone"} <= {path.name for path in folder.iterdir()}
    assert (folder / "together" / "plot.png").exists()


def test_json_is_the_search(run):
    run("design", "--topology", "exponential", "--nodes", "6", "-o", "s.json")
    outcome = run("--quiet", "train", "s.json", "--search-active", *OPTIONS, "--json")
    assert outcome.status == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert [c["active"] for c in found["candidates"]] == [1, 2, 6]
    losses = {c["active"]: c["loss"] for c in found["candidates"]}
    assert found["best"] == min(losses, key=losses.get)
    assert (found["inner"], found["nodes"]) == ("exponential", 6)


def test_what_cannot_be_searched_is_said(run):
    run("design", "--topology", "ring", "--nodes", "4", "-o", "s.json")
    outcome = run("train", "s.json", "--search-active", "--algorithm", "dsgd", *OPTIONS)
    assert outcome.status == 1
    assert "--search-active belongs to teleportation; dsgd would ignore it" in outcome.stderr
