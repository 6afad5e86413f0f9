"""What ranks do in the tests of recovery: train, and note what they mix and what comes of it."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import torch

from topokit.designer import design
from topokit.errors import TopokitError
from topokit.survivors import Survivors
from topokit_trainer.config import TrainConfig
from topokit_trainer.loop import Trainer
from topokit_trainer.world import open_world

__all__ = ["check_rounds", "end_of", "train_and_note"]

SENT = 0.05  # seconds for messages to leave


def train_and_note(topology, nodes, settings, end=None, rounds_noted=3, pause=0.0):
    """Train; give what rounds after a loss started from and came to, and what else there is to know.

    Parameters
    ----------
    topology, nodes : str, int
    settings : dict
        Of the run.
    end : list of (rank, round, when, signal), optional
        Ranks that send themselves a signal in a round, ``before`` its messages or after they are ``sent``.
    rounds_noted : int
    pause : float
        Seconds before each round.
    """
    torch.set_num_threads(1)
    config = TrainConfig(**settings)
    with open_world(config) as world:
        trainer = Trainer(design(topology, nodes), config, world)
        here, noted, current, under_way = trainer.nodes, [], [0], []
        rank, store = world.rank, world.store
        start_mixing, mix, together = here.start_mixing, here.mix, here.together

        def values():
            return torch.cat([x.double() for x in here.parameters], dim=1).numpy().copy()

        def numbered_mix(round_number, *others):
            current[0] = round_number
            mix(round_number, *others)

        def numbered_start(round_number):
            current[0] = round_number
            under_way[:] = [start_mixing(round_number)]
            return under_way[0]

        def noting(act, tensors):
            number, overlap = current[0], list(under_way)

            def noted_act():
                before = values()
                for who, when, how, what in end or ():
                    if who == rank and when == number:
                        if how == "sent":
                            here.exchange.start([(here.plans(number).route, tensors)])
                            time.sleep(SENT)
                        os.kill(os.getpid(), what)
                time.sleep(pause)
                act()
                if here.lost:
                    start = before
                    if overlap:  # its messages are of the values before the step
                        start = torch.cat([x.double() for x in overlap[0].start], dim=1).numpy().copy()
                    noted.append((number, here.lost, start, before, values()))
                if number == 3:
                    store.set(f"trains {rank}", "")

            together(noted_act, tensors)

        here.mix, here.start_mixing, here.together = numbered_mix, numbered_start, noting
        result = trainer.run()
        return {
            "noted": [note for note in noted if note[1] == here.lost][:rounds_noted],
            "lost": trainer.lost,
            "rows": result.metrics,
            "rank": trainer.world.rank,
            "keys": list(here.keys),
            "final": values(),
        }


def end_of(*arguments):
    """Train, and give the error that the run ends with."""
    try:
        train_and_note(*arguments)
    except TopokitError as error:
        return str(error)
    return None


def check_rounds(schedule, results):
    """Compare the rounds after a loss with W' X in NumPy; give how many there were."""
    results = sorted(results, key=lambda result: result["rank"])
    assert [result["rank"] for result in results] == list(range(len(results)))
    rounds = list(zip(*(result["noted"] for result in results), strict=True))
    for together in rounds:
        (number, lost, *_), *others = together
        assert all((n, gone) == (number, lost) for n, gone, *_ in others)
        X, before, Y = (np.concatenate([part[k] for part in together]) for k in (2, 3, 4))
        W = Survivors(schedule, lost).round(number).to_dense()
        np.testing.assert_allclose(Y, before - X + W @ X, rtol=0, atol=1e-13)
        np.testing.assert_allclose(Y.mean(0), before.mean(0), rtol=0, atol=1e-14)
    assert len({tuple(sorted(loss["nodes"])) for r in results for loss in r["lost"][:1]}) == 1
    return len(rounds)


KILL, STOP = signal.SIGKILL, signal.SIGSTOP
