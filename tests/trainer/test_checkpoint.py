"""Checkpoints: a run that is interrupted and goes on ends, bit for bit, where an uninterrupted one ends."""

import json
import shutil

import numpy as np
import pytest
import torch
from problems import CLASSES, FEATURES, blobs, linear, settings
from torch import nn, optim
from torch.optim import lr_scheduler
from workers import final_parameters

from topokit.designer import design
from topokit.errors import InputError
from topokit_trainer import Trainer, train
from topokit_trainer.telemetry import read_metrics

SCHEDULE = design("one-peer-exponential", 6)
STEPS = 20


def network():
    return nn.Sequential(nn.Linear(FEATURES, 6), nn.Tanh(), nn.Linear(6, CLASSES))


def dropout():
    return nn.Sequential(nn.Linear(FEATURES, 6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, CLASSES))


def batch_norm():
    return nn.Sequential(nn.Linear(FEATURES, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, CLASSES))


def matrices():
    return nn.Sequential(nn.Linear(FEATURES, 6, bias=False), nn.Tanh(), nn.Linear(6, CLASSES, bias=False))


def lbfgs(model):
    return optim.LBFGS(model.parameters(), lr=0.1, max_iter=3, history_size=4)


def two_groups(model):
    weights, biases = ([p for p in model.parameters() if (p.ndim > 1) is wanted] for wanted in (True, False))
    return optim.AdamW([{"params": weights, "weight_decay": 0.1}, {"params": biases, "lr": 0.05}], lr=0.02)


def warm_up(optimizer):
    parts = [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=6), lr_scheduler.StepLR(optimizer, 3)]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[6])


def one_cycle(optimizer):
    return lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=STEPS + 1)


MOMENTUM = {"momentum": 0.9, "weight_decay": 0.01}
CASES = {
    "momentum": (MOMENTUM, {}),
    "vmap": (MOMENTUM | {"gradients": "vmap", "clip": 0.5}, {}),
    "float32": (MOMENTUM | {"dtype": "float32"}, {}),
    "bfloat16": (MOMENTUM | {"dtype": "bfloat16"}, {}),
    "steps": (MOMENTUM | {"lr_schedule": "step"}, {}),
    "adamw and cosine": ({"optimizer": "adamw", "lr": 0.01, "lr_schedule": "cosine"}, {}),
    "allreduce": (MOMENTUM | {"algorithm": "allreduce"}, {}),
    "awc": (MOMENTUM | {"order": "awc"}, {}),
    "awc, 3 local steps": (MOMENTUM | {"order": "awc", "local_steps": 3}, {}),
    "atc, 3 local steps": (MOMENTUM | {"local_steps": 3}, {}),
    "dropout": (MOMENTUM, {"model": dropout}),
    "batch norm": (MOMENTUM, {"model": batch_norm}),
    "dirichlet": (MOMENTUM | {"partition": "dirichlet"}, {}),
    "lbfgs": ({}, {"optimizer": lbfgs, "scheduler": lambda o: lr_scheduler.StepLR(o, 4)}),
    "adagrad": ({}, {"optimizer": lambda m: optim.Adagrad(m.parameters(), lr=0.1)}),
    "groups and warm-up": ({}, {"optimizer": two_groups, "scheduler": warm_up}),
    "one cycle": ({}, {"optimizer": two_groups, "scheduler": one_cycle}),
    "nadam": ({}, {"optimizer": lambda m: optim.NAdam(m.parameters(), lr=0.01)}),
}
if hasattr(optim, "Muon"):
    CASES["muon"] = ({}, {"model": matrices, "optimizer": lambda m: optim.Muon(m.parameters(), lr=0.02)})
if hasattr(optim, "Adafactor"):
    CASES["adafactor"] = ({}, {"optimizer": lambda m: optim.Adafactor(m.parameters(), lr=0.05)})


CRASHING = ("awc, 3 local steps", "batch norm", "lbfgs")


def trainer_for(out, changes=None, parts=None, schedule=SCHEDULE):
    # Evaluations and checkpoints at steps that do not divide one another.
    usual = {"steps": STEPS, "eval_every": 5, "checkpoint_every": 4, "perturb": 0.1, "out": out}
    data = blobs(dtype=torch.float64)
    return Trainer(schedule, settings(**(usual | (changes or {}))), data=data, **({"model": network} | (parts or {})))


class CrashError(Exception):
    pass


def run_until(trainer, step, how):
    """Stop a run after so many steps: politely, as SIGINT does, or by an exception from nowhere."""
    take_step = trainer.algorithm.step

    def watched(nodes, number):
        if number == step and how == "crash":
            raise CrashError
        take_step(nodes, number)
        trainer.interrupted = trainer.interrupted or (number + 1 == step and how == "interrupt")

    trainer.algorithm.step = watched
    with pytest.raises(CrashError if how == "crash" else KeyboardInterrupt):
        trainer.run()


def without_time(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def state_of(trainer):
    nodes = trainer.nodes
    return (
        final_parameters(trainer).tobytes(),
        {name: b.numpy().tobytes() for name, b in nodes.stacks.buffers.items()},
        nodes.bytes_per_node,
        nodes.exchange.bytes_sent,
        nodes.losses.count,
    )


@pytest.mark.parametrize(
    ("name", "how"), [*((name, "interrupt") for name in CASES), *((name, "crash") for name in CRASHING)]
)
def test_interrupted_runs_end_where_uninterrupted_ones_do(tmp_path, name, how):
    straight = trainer_for(tmp_path / "straight", *CASES[name])
    expected = straight.run()
    run_until(trainer_for(tmp_path / "broken", *CASES[name]), 13, how)
    again = trainer_for(tmp_path / "broken", *CASES[name])
    assert 12 <= again.progress.step <= 15
    found = again.run()
    assert state_of(again) == state_of(straight)
    assert without_time(found.metrics) == without_time(expected.metrics)
    assert [row["step"] for row in found.metrics] == [0, 5, 10, 15, 20]
    assert without_time(read_metrics(tmp_path / "broken")) == without_time(read_metrics(tmp_path / "straight"))
    for mine, theirs in zip(found.model.state_dict().items(), expected.model.state_dict().items(), strict=True):
        assert torch.equal(mine[1], theirs[1])


@pytest.mark.parametrize("order", ["atc", "awc"])
def test_an_interrupted_run_is_saved_where_it_stands(tmp_path, order):
    changes = {"order": order, "local_steps": 3, "checkpoint_every": 0}
    run_until(trainer_for(tmp_path, changes), 7, "interrupt")
    # With AWC the round under way, of steps 6 to 8, is brought to its end first.
    assert trainer_for(tmp_path, changes).progress.step == (7 if order == "atc" else 9)


def test_a_checkpoint_that_falls_into_a_round_is_made_at_its_end(tmp_path):
    trainer = trainer_for(tmp_path, {"order": "awc", "local_steps": 3, "checkpoint_every": 5, "keep_checkpoints": 9})
    trainer.run()
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000006", "step-00000012", "step-00000015", "step-00000020"]


def test_the_newest_checkpoints_are_kept(tmp_path):
    trainer_for(tmp_path, {"keep_checkpoints": 2}).run()
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000016", "step-00000020"]


def test_without_checkpoints_none_are_written_and_the_run_cannot_go_on(tmp_path):
    trainer_for(tmp_path, {"checkpoint_every": 0}).run()
    assert not (tmp_path / "checkpoints").exists()
    with pytest.raises(InputError, match="holds a run without checkpoints, which cannot go on; use another --out or"):
        trainer_for(tmp_path, {"checkpoint_every": 0})


def test_a_run_that_crashed_before_its_first_checkpoint_starts_anew(tmp_path):
    run_until(trainer_for(tmp_path), 3, "crash")
    again = trainer_for(tmp_path)
    assert again.progress.step == 0
    metrics = again.run().metrics
    assert [row["step"] for row in read_metrics(tmp_path)] == [row["step"] for row in metrics] == [0, 5, 10, 15, 20]


def test_evaluations_after_the_checkpoint_are_made_again(tmp_path):
    run_until(trainer_for(tmp_path), 11, "crash")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 15, "loss"')  # as a crash may leave it
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 5, 10]
    again = trainer_for(tmp_path)
    assert again.progress.step == 8
    again.folder.open(again.config, again.schedule, again.progress.step, again.progress.engine)
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 5]


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = trainer_for(tmp_path)
    expected = first.run()
    again = trainer_for(tmp_path)

    def no_work(nodes, step):
        raise AssertionError

    again.algorithm.step = no_work
    found = again.run()
    assert found.metrics == expected.metrics
    assert found.seconds == expected.seconds
    assert state_of(again) == state_of(first)
    for a, b in zip(found.model.parameters(), expected.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_time_is_counted_over_all_starts(tmp_path):
    run_until(trainer_for(tmp_path), 8, "interrupt")
    again = trainer_for(tmp_path)
    before = again.progress.seconds
    assert before > 0
    assert again.run().seconds > before


def test_overwrite_starts_anew(tmp_path):
    trainer_for(tmp_path).run()
    with pytest.raises(InputError, match="lr"):
        trainer_for(tmp_path, {"lr": 0.2})
    again = trainer_for(tmp_path, {"lr": 0.2, "overwrite": True, "checkpoint_every": 0})
    assert again.progress.step == 0
    again.run()
    assert not (tmp_path / "checkpoints").exists()
    assert len(read_metrics(tmp_path)) == 5
    assert json.loads((tmp_path / "config.json").read_text())["lr"] == 0.2


def test_a_run_leaves_what_is_needed_to_use_it(tmp_path):
    result = trainer_for(tmp_path).run()
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"averaged-model.pt", "checkpoints", "config.json", "metrics.jsonl", "schedule.json", "summary.json"}
    model = network().double()
    model.load_state_dict(torch.load(tmp_path / "averaged-model.pt", weights_only=True))
    x, y = blobs().test.tensors
    assert nn.functional.cross_entropy(model(x), y).item() == pytest.approx(result.final["loss"], rel=1e-12)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["finished"] is True
    assert summary["ranks"] == 1
    assert summary["engine"] == "loop (asked for)"
    assert summary["loss"] == result.final["loss"]
    assert type(SCHEDULE).load(tmp_path / "schedule.json").content_hash == SCHEDULE.content_hash


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.2}, "holds a run with lr 0.1, not 0.2; give the settings it was started with"),
        ({"batch_size": 5}, "holds a run with batch-size 4, not 5"),
        ({"order": "awc"}, "holds a run with order 'atc', not 'awc'"),
        ({"seed": 1}, "holds a run with seed 0, not 1"),
        ({"steps": 40}, "holds a run with steps 20, not 40"),
        ({"clip": 1.0}, "holds a run with clip None, not 1.0"),
    ],
)
def test_other_settings_are_refused(tmp_path, changes, message):
    run_until(trainer_for(tmp_path), 7, "interrupt")
    with pytest.raises(InputError, match=message):
        trainer_for(tmp_path, changes)


def test_another_schedule_is_refused(tmp_path):
    run_until(trainer_for(tmp_path), 7, "interrupt")
    with pytest.raises(InputError, match="holds a run with schedule 'sha256:"):
        trainer_for(tmp_path, schedule=design("ring", 6))


@pytest.mark.parametrize(
    "parts",
    [
        {"model": linear},
        {"model": batch_norm},
        {"optimizer": two_groups},
        {"optimizer": lambda m: optim.Adam(m.parameters())},
        {"optimizer": lbfgs},
    ],
)
def test_another_model_or_optimizer_is_refused(tmp_path, parts):
    run_until(trainer_for(tmp_path), 7, "interrupt")
    with pytest.raises(InputError, match=r"is of another model or optimizer \(stacked SGD, not .*\); give those that"):
        trainer_for(tmp_path, parts=parts)


def test_what_does_not_decide_the_trajectory_may_change(tmp_path):
    straight = trainer_for(tmp_path / "straight").run()
    run_until(trainer_for(tmp_path / "broken"), 7, "interrupt")
    moved = shutil.move(tmp_path / "broken", tmp_path / "moved")
    again = trainer_for(moved, {"checkpoint_every": 3, "keep_checkpoints": 1, "timeout": 5})
    assert again.progress.step == 7
    assert without_time(again.run().metrics) == without_time(straight.metrics)


@pytest.mark.parametrize("damage", ["cut off", "scrambled", "empty", "gone"])
def test_damaged_checkpoints_are_named(tmp_path, damage):
    trainer_for(tmp_path).run()
    (file,) = (tmp_path / "checkpoints" / "step-00000020").glob("rank-*.pt")
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"cut off": whole[:-500], "scrambled": b"x" * len(whole), "empty": b""}[damage])
    with pytest.raises(
        InputError, match=r"rank-00000\.pt cannot be read .*remove .*step-00000020 to go on from an older"
    ):
        trainer_for(tmp_path)
    shutil.rmtree(file.parent)
    assert trainer_for(tmp_path).progress.step == 16


NOWHERE = '{"version": 3, "trajectory": {}, "progress": {}}'


@pytest.mark.parametrize("content", ["", "{", "{}", '{"version": 1}', NOWHERE, "[]", "3", b"\xff\xfe"])
def test_damaged_headers_are_named(tmp_path, content):
    trainer_for(tmp_path).run()
    header = tmp_path / "checkpoints" / "step-00000020" / "run.json"
    header.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=r"run\.json is damaged; remove .*step-00000020 to go on from an older one"):
        trainer_for(tmp_path)


def test_other_versions_are_refused(tmp_path):
    trainer_for(tmp_path).run()
    header = tmp_path / "checkpoints" / "step-00000020" / "run.json"
    header.write_text(header.read_text().replace('"version": 3', '"version": 4'))
    with pytest.raises(InputError, match="has version 4, this topokit reads version 3"):
        trainer_for(tmp_path)


def test_half_written_checkpoints_do_not_count(tmp_path):
    trainer_for(tmp_path).run()
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "step-00000020", folder / ".step-00000024.tmp")
    (folder / "step-00000028.old").mkdir()
    again = trainer_for(tmp_path)
    assert again.progress.step == 20
    assert again.checkpoints.newest().name == "step-00000020"


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(InputError, match=r"--out .*run cannot be made a folder"):
        train(SCHEDULE, settings(out=tmp_path / "run", steps=1), model=network, data=blobs())


def test_replicas_come_back_to_their_own_nodes(tmp_path):
    run_until(trainer_for(tmp_path), 7, "interrupt")
    first = torch.load(next((tmp_path / "checkpoints" / "step-00000007").glob("*.pt")), weights_only=True)
    again = final_parameters(trainer_for(tmp_path))
    assert np.unique(again, axis=0).shape == again.shape
    for node, state in first["nodes"].items():
        assert np.array_equal(state["parameters"][0].numpy(), again[node])
