"""The all-reduce baseline: with one node on each rank it is DistributedDataParallel, and the same run as without."""

from dataclasses import replace

import numpy as np
import pytest
from baseline import MODELS, OPTIMIZERS, reduce_all
from problems import Softmax, blobs, settings
from ranks import run_ranks
from workers import final_parameters

from topokit.designer import design
from topokit_trainer import Trainer

STEPS = 24
RING = design("ring", 4)
USUAL = settings(algorithm="allreduce", steps=STEPS, lr=0.1, perturb=0.1, clip=1.0)
MOMENTUM = replace(USUAL, momentum=0.9, weight_decay=0.01)
CONFIGS = {name: replace(MOMENTUM, steps=14) for name in MODELS} | {
    "linear": MOMENTUM,
    "adam": replace(USUAL, steps=14, optimizer="adam", lr=0.01),
    "last layer": replace(USUAL, steps=14),
}
RUNS = [(name, RING, config, None) for name, config in CONFIGS.items()]
# Whether the wrapper looks for unused parameters in every step; None where it is not used.
LOOKS = {"unused": True, "branching": True, "chance": True, "sparse": None}


def make(name, config=None):
    config = CONFIGS[name] if config is None else config
    return Trainer(RING, config, model=MODELS[name], optimizer=OPTIMIZERS.get(name), data=blobs())


def test_it_is_sgd_with_the_mean_of_all_gradients():
    trainer = make("linear")
    problem, X = Softmax(trainer.data), final_parameters(trainer).copy()
    velocity = 0.0
    trainer.run()
    for step in range(STEPS):
        batches = trainer.nodes.batches.indices(step)
        mean = np.mean([problem.gradient(x, batch) for x, batch in zip(X, batches, strict=True)], axis=0)
        mean = mean * min(1, 1 / (np.linalg.norm(mean) + 1e-6))
        velocity = 0.9 * velocity + mean + 0.01 * X
        X = X - 0.1 * velocity
    assert np.abs(X - X[0]).max() > 1e-3  # from unlike starts the nodes take the same steps
    assert np.abs(final_parameters(trainer) - X).max() < 1e-10


@pytest.mark.dist
@pytest.mark.parametrize("size", [4, 2], ids=["distributed", "hybrid"])
def test_every_mode_is_the_same_run(size):
    ranks = run_ranks(reduce_all, size, RUNS)
    for number, name in enumerate(MODELS):
        alone = make(name)
        start = final_parameters(alone).copy()
        here = alone.run().final
        found = [rank[number] for rank in ranks]
        together = np.concatenate([parameters for parameters, *_ in found])
        assert np.abs(together - start).max() > 0.01
        assert np.abs(together - final_parameters(alone)).max() < 1e-10, name
        for key, values in alone.nodes.stacks.buffers.items():
            assert np.abs(np.concatenate([buffers[key] for _, _, buffers, *_ in found]) - values.numpy()).max() < 1e-10
        (there,) = found[0][1]
        for key in ("train_loss", "loss", "accuracy", "bytes_sent_per_node"):
            assert there[key] == pytest.approx(here[key], rel=1e-9)
        assert here["bytes_sent_per_node"] == round(alone.config.steps * 2 * 3 / 4 * alone.nodes.stacks.bytes_per_node)
        each_rank = alone.config.steps * 2 * (size - 1) / size * alone.nodes.stacks.bytes_per_node
        assert there["bytes_on_the_wire"] == size * each_rank
        assert all(how == (LOOKS.get(name, False) if size == 4 else None) for *_, how, _ in found), name
        assert all(in_place for *_, in_place in found), name


@pytest.mark.slow
@pytest.mark.dist
def test_interrupted_ranks_end_where_uninterrupted_ones_do(tmp_path):
    names = ("adam", "batch norm", "branching")

    def runs(folder, killed_before=None):
        saving = {name: replace(CONFIGS[name], checkpoint_every=6, out=tmp_path / folder / name) for name in names}
        return [(name, RING, config, killed_before) for name, config in saving.items()]

    for rank in run_ranks(reduce_all, 4, [*runs("straight"), *runs("broken", killed_before=13), *runs("broken")]):
        assert len(rank) == 2 * len(names)
        for (expected, *_), (found, *_) in zip(rank[: len(names)], rank[len(names) :], strict=True):
            assert found.tobytes() == expected.tobytes()
