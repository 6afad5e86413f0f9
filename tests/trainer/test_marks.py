"""Marks: whose snapshot counts where, what is kept, and which run may go on."""

import json

import pytest
import torch

from topokit.designer import design
from topokit.errors import InputError
from topokit_trainer import TrainConfig
from topokit_trainer.algorithms import make_algorithm
from topokit_trainer.assembly import Given, assemble
from topokit_trainer.asynchronous.journal import Journal, journals
from topokit_trainer.asynchronous.marks import Marks
from topokit_trainer.asynchronous.recorder import Recorder
from topokit_trainer.world import World


def snapshot(rank, mark, x=0.0, **other):
    return {"rank": rank, "mark": mark, "x": [torch.full((3,), float(x))], **other}


@pytest.fixture
def marks(tmp_path):
    return Marks(tmp_path / "run")


def test_a_rank_that_left_a_mark_out_counts_with_its_newest_snapshot(marks):
    for rank, mark in [(0, 0), (0, 50), (0, 100), (1, 0), (1, 100), (2, 0)]:
        marks.write(rank, mark, snapshot(rank, mark))
    assert marks.steps() == [0, 50, 100]
    assert [marks.at(rank, 50)["mark"] for rank in range(3)] == [50, 100, 0]
    assert marks.at(3, 50) is None


def test_what_is_pruned_is_no_rank_s_last_word(marks):
    for mark in (0, 10, 20, 30):
        marks.write(0, mark, snapshot(0, mark))
    marks.write(1, 0, snapshot(1, 0))
    marks.prune(keep=2, evaluated=20)  # 30 is not evaluated yet, and no reason to throw older ones away
    assert marks.steps() == [0, 10, 20, 30]
    assert marks.newest(1)["mark"] == 0
    assert not (marks.folder / "00000000" / "rank-00000.pt").exists()
    marks.write(1, 30, snapshot(1, 30))
    marks.prune(keep=2, evaluated=30)
    assert marks.steps() == [20, 30]


def test_a_rank_that_was_asked_to_stop_goes_on_from_there(marks):
    marks.write(0, 10, snapshot(0, 10, x=1))
    marks.write_stopped(0, snapshot(0, 10, x=2))
    assert marks.newest(0)["x"][0][0] == 2
    marks.write(0, 20, snapshot(0, 20, x=3))
    assert marks.newest(0)["x"][0][0] == 3
    assert marks.newest(1) is None


def test_a_damaged_snapshot_is_named(marks):
    marks.write(0, 10, snapshot(0, 10))
    path = marks.folder / "00000010" / "rank-00000.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"rank-00000.pt cannot be read \(.*\); remove that file to go on"):
        marks.newest(0)
    assert marks.at(0, 10) is None, "another rank's evaluation has to do without it"


def test_only_the_same_run_goes_on(marks):
    assert not marks.begin({"steps": 10, "seed": 0}, overwrite=False)
    assert marks.begin({"steps": 10, "seed": 0}, overwrite=False)
    with pytest.raises(InputError, match=r"holds a run with seed 0, not 1; give the settings it was started with"):
        marks.begin({"steps": 10, "seed": 1}, overwrite=False)
    marks.write(0, 0, snapshot(0, 0))
    (marks.out / "summary.json").write_text("{}")
    assert not marks.begin({"steps": 10, "seed": 1}, overwrite=True)
    assert marks.steps() == []
    assert not (marks.out / "summary.json").exists()
    (marks.folder / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json is damaged"):
        marks.begin({"steps": 10, "seed": 1}, overwrite=False)


@pytest.mark.parametrize(
    ("left", "message"), [("metrics.jsonl", "a run that was not asynchronous"), ("search.json", "holds a search")]
)
def test_another_kind_of_run_is_left_alone(marks, left, message):
    marks.out.mkdir()
    (marks.out / left).write_text("")
    with pytest.raises(InputError, match=message):
        marks.begin({}, overwrite=False)


def test_what_several_saw_happened_once(tmp_path):
    clock = iter([100.0, 101.0, 103.0, 120.0])
    seen = [(0, "lost", 3), (1, "lost", 3), (0, "back", 3), (2, "lost", 3)]
    for by, kind, rank in seen:
        journal = Journal(tmp_path, by)
        journal.add(kind, rank, gradients=7)
        lines = journal.path.read_text().splitlines()
        last = json.loads(lines[-1]) | {"time": next(clock)}
        journal.path.write_text("\n".join([*lines[:-1], json.dumps(last)]) + "\n")
    with Journal(tmp_path, 1).path.open("a") as file:
        file.write('{"time": 1')  # its writer was killed over it
    found = [(h["kind"], h["time"], h["by"]) for h in journals(tmp_path, window=6)]
    assert found == [("lost", 100.0, [0, 1]), ("back", 103.0, [0]), ("lost", 120.0, [2])]


@pytest.fixture
def recorder(tmp_path):
    config = TrainConfig(algorithm="async-gossip", batch_size=8, steps=40, keep_checkpoints=1, dtype="float64")
    schedule, marks = design("pairwise", 4), Marks(tmp_path)
    assembly = assemble(schedule, config, World(), Given(), make_algorithm(config))
    recorder = Recorder(schedule, config, tmp_path, marks, assembly.evaluator, epoch=10)
    size = assembly.nodes.stacks.stacks[0].shape[1]
    marks.begin({}, overwrite=False)
    generator = torch.Generator().manual_seed(0)
    for rank in range(4):
        x = torch.randn(size, generator=generator, dtype=torch.float64)
        common = {"buffers": {}, "lr": 0.1, "loss": rank, "accuracy": rank / 4, "train_count": 2, "seconds": 1.5}
        counts = {"count": 5 * rank, "averagings": rank, "bytes": 8 * rank, "train_total": 1.0}
        marks.write(rank, 20, {"rank": rank, "mark": 20, "x": [x], **common, **counts})
    return recorder


def test_a_mark_is_evaluated_as_the_definitions_have_it(recorder):
    row = recorder.evaluate(20, [0, 1, 3], size=4)
    x = torch.stack([recorder.marks.at(rank, 20)["x"][0] for rank in (0, 1, 3)])
    assert row["consensus_distance"] == pytest.approx(float((x - x.mean(0)).square().sum(1).mean().sqrt()), rel=1e-12)
    flat = torch.cat([p.detach().reshape(-1) for p in recorder.evaluator.average.parameters()])
    torch.testing.assert_close(flat, x.mean(0), rtol=0, atol=1e-15)
    assert (row["node_loss_worst"], row["node_accuracy_worst"], row["living"], row["ranks"]) == (3, 0, 3, 4)
    assert (row["train_loss"], row["epoch"], row["averagings_per_gradient"]) == (0.5, 2.0, 0.2)
    assert row["bytes_on_the_wire"] == 32
    assert recorder.evaluate(20, [0, 1, 3], size=4) is None, "another rank has done it"


def test_a_line_cut_off_is_replaced(recorder):
    recorder.evaluate(20, range(4), size=4)
    path = recorder.out / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 30, "lo')
    recorder.evaluate(40, range(4), size=4)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [20, 40]


def test_who_takes_over_can_finish(recorder):
    recorder.evaluate(20, range(4), size=4)
    recorder.evaluate(40, range(4), size=4)
    other = Recorder(recorder.schedule, recorder.config, recorder.out, recorder.marks, recorder.evaluator, epoch=10)
    with torch.no_grad():
        next(other.evaluator.average.parameters()).zero_()
    assert other.last() == 40
    other.finish(range(4), "loop", {0: 3, 1: 4}, 4, window=1.0)
    summary = json.loads((other.out / "summary.json").read_text())
    assert other.finished
    assert summary["gradients"] == [3, 4, 0, 0]
    assert summary["averagings"] == [0, 1, 2, 3]
    saved = torch.load(other.out / "averaged-model.pt", weights_only=True)
    flat = torch.cat([value.reshape(-1) for value in saved.values()])
    x = torch.stack([recorder.marks.at(rank, 20)["x"][0] for rank in range(4)])
    torch.testing.assert_close(flat, x.mean(0), rtol=0, atol=1e-15)


def test_time_does_not_go_back_with_a_rank_that_was_started_again(recorder):
    late = recorder.marks.at(0, 20) | {"seconds": 0.5}
    recorder.marks.write(0, 20, late)
    assert recorder.evaluate(20, range(4), size=4)["seconds"] == 1.5
