"""The benchmark of one device runs, also where there is no GPU, and counts what it says it counts."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import bench_gpu
import numpy as np
import pytest
import torch
from bench_gpu import GRAPHS, bytes_to_move, main, measure_mixing, measure_training

from topokit.designer import design
from topokit.matrix import MixingMatrix

TINY = ["--device", "cpu", "--nodes", "4", "8", "--batch", "2", "--models", "mlp", "--values", "4000"]


def test_it_runs_without_a_gpu(capsys):
    main([*TINY, "--repetitions", "1"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert f"torch {torch.__version__}; 20" in head
    rows = [line.split() for line in lines if line]
    training = [row for row in rows if row[0] == "mlp"]
    assert [int(row[1]) for row in training] == [4, 8]
    assert all(row[3] in ("vmap", "loop") and min(float(v) for v in row[4:]) > 0 for row in training)
    mixing = [row for row in rows if row[0] in GRAPHS]
    assert [(row[0], int(row[1])) for row in mixing] == [(graph, n) for n in (4, 8) for graph in GRAPHS]
    assert all(float(row[-1]) > 0 for row in mixing)


def test_figures_as_json(capsys):
    main([*TINY, "--repetitions", "2", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"device", "torch", "date", "training", "mixing"}
    assert [row["nodes"] * row["columns"] for row in found["mixing"]] == [4000] * 8
    for row in found["mixing"]:
        assert row["bytes"] == 2 * 4 * 4000, "every row is needed, and every row changes"
        assert row["copy_gigabytes_per_second"] > 0


@pytest.fixture
def clock(monkeypatch):
    """Every reading is a second after the last one."""
    readings = itertools.count()
    monkeypatch.setattr(bench_gpu, "time", SimpleNamespace(perf_counter=lambda: next(readings)))


def test_samples_and_bytes_are_divided_by_the_time_of_all_steps(clock):
    training = measure_training("mlp", nodes=4, batch=2, device="cpu", repetitions=2, steps=5)
    assert training.samples_per_second == training.samples_per_second_one == 5 * 4 * 2
    assert training.time_over_one == 1
    for row in measure_mixing(6, values=60, device="cpu", repetitions=2):
        assert (row.columns, row.bytes) == (10, 2 * 60 * 4)
        assert row.copy_gigabytes_per_second == 2 * 60 * 4 / 1e9
        assert row.time_over_bytes_at_copy_rate == 1


def test_one_model_gets_as_many_samples_in_one_step(monkeypatch):
    totals = []

    class Watched(bench_gpu.OneModel):
        def step(self, number):
            totals.append(self.total)
            super().step(number)

    monkeypatch.setattr(bench_gpu, "OneModel", Watched)
    measure_training("mlp", nodes=4, batch=3, device="cpu", repetitions=1, steps=2)
    assert totals == [12] * 2 * 3


def test_rows_that_stand_still_are_not_counted():
    still = MixingMatrix.from_matrix(np.array([[0.5, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    assert bytes_to_move(still, columns=10, size=4) == (2 + 1) * 40
    assert bytes_to_move(design("ring", 6).round(0), columns=10, size=8) == (6 + 6) * 80


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_one_sentence_says_so():
    script = Path(__file__).with_name("bench_gpu.py")
    path = [str(Path(__file__).parents[2] / part) for part in (".", "trainer")]
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, env={"PYTHONPATH": ":".join(path)}
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "--device cuda: this machine or this PyTorch has no CUDA; --device cpu runs without\n"
