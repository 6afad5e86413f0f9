"""A run that goes on with another number of ranks ends where it would have ended with the first."""

import json

import numpy as np
import pytest
from breaking import break_off
from exchange_workers import train_on
from problems import blobs, linear, settings
from ranks import run_ranks

from topokit.designer import design
from topokit_trainer import Trainer

SCHEDULE = design("one-peer-exponential", 4)
ROW = 8 * 18  # bytes of a node's parameters
STOP, SAVED = 14, 12
PARTS = {"model": linear, "data": blobs()}


def config_for(folder, **changes):
    usual = {"steps": 20, "eval_every": 5, "checkpoint_every": 4, "perturb": 0.1, "momentum": 0.9, "out": folder}
    return settings(**(usual | changes))


def train_alone(folder, stop=None, **changes):
    """As `train_on`, in this process."""
    trainer = Trainer(SCHEDULE, config_for(folder, **changes), **PARTS)
    begun = trainer.progress.step
    if stop is None:
        trainer.run()
    else:
        break_off(trainer, stop)
    return trainer, begun


def without_place(rows):
    """Evaluations without what depends on the number of ranks."""
    return [
        {k: v for k, v in row.items() if v is not None and k not in ("seconds", "bytes_on_the_wire")} for row in rows
    ]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    trainer, _ = train_alone(tmp_path_factory.mktemp("straight"))
    return trainer


def wire(steps, size):
    """Bytes between ranks after so many steps: messages of a one-peer graph whose ends are on different ranks."""
    share = SCHEDULE.nodes // size
    count = 0
    for step in range(steps):
        matrix = SCHEDULE.round(step)
        count += np.count_nonzero(matrix.target // share != matrix.source // share)
    return count * ROW


@pytest.mark.dist
@pytest.mark.parametrize(("first", "second"), [(4, 2), (2, 1), (1, 2)])
def test_a_run_goes_on_with_other_ranks(tmp_path, straight, first, second):
    config = config_for(tmp_path)
    if first == 1:
        train_alone(tmp_path, STOP)
    else:
        run_ranks(train_on, first, SCHEDULE, config, PARTS, STOP)
    header = json.loads((tmp_path / "checkpoints" / f"step-{SAVED:08d}" / "run.json").read_text())
    share = SCHEDULE.nodes // first
    assert header["places"] == {
        f"rank-{rank:05d}.pt": list(range(rank * share, (rank + 1) * share)) for rank in range(first)
    }
    if second == 1:
        trainer, begun = train_alone(tmp_path)
        nodes = trainer.nodes
        ranks = [
            (
                np.concatenate([p.numpy() for p in nodes.parameters], axis=1),
                trainer.folder.rows,
                begun,
                nodes.bytes_per_node,
                nodes.exchange.bytes_sent,
            )
        ]
    else:
        ranks = run_ranks(train_on, second, SCHEDULE, config, PARTS)
    found = np.concatenate([rank[0] for rank in ranks])
    expected = np.concatenate([p.numpy() for p in straight.nodes.parameters], axis=1)
    assert [rank[2] for rank in ranks] == [SAVED] * second
    assert np.array_equal(found, expected), "bit for bit: rows do not depend on where they are"
    assert all(rank[3] == straight.nodes.bytes_per_node for rank in ranks)
    # The figures, among them the training loss since step 10, of which two steps were taken by other ranks.
    metrics = ranks[0][1]
    assert [row["step"] for row in metrics] == [0, 5, 10, 15, 20]
    for here, there in zip(without_place(metrics), without_place(straight.folder.rows), strict=True):
        assert here == pytest.approx(there, rel=1e-12, abs=1e-15)
    between = wire(SAVED, first) + wire(20, second) - wire(SAVED, second)
    assert sum(rank[4] for rank in ranks) == metrics[-1]["bytes_on_the_wire"] == between
    assert between > 0
