"""What `topokit list algorithms` says of memory and bytes, against the memory kept and the bytes sent."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from own_schedules import ASYNCHRONOUS, NEEDED, PACKED, own_schedules
from problems import blobs, linear, settings
from ranks import run_ranks
from workers import train_all

from topokit.errors import InputError
from topokit_trainer import TrainConfig, Trainer
from topokit_trainer.algorithms import algorithm_for, make_algorithm
from topokit_trainer.catalog import ALGORITHMS, DATASETS, MODELS, OPTIMIZERS
from topokit_trainer.config import OWNERS
from topokit_trainer.nodes import Nodes
from topokit_trainer.stacks import NodeStacks

STEPS, NODES = 6, 8
MOMENTUM = {"momentum": 0.9}
WORDS = {0: "no model more", 1: "one model", 2: "two models"}


SCHEDULES = own_schedules(NODES, active=4)


def given(name):
    """A step size, where one would be looked for."""
    return {"consensus_step": "0.3"} if name in OWNERS["consensus_step"] else {}


def trainer_for(name, **changes):
    config = settings(algorithm=name, steps=STEPS, **(given(name) | NEEDED.get(name, {}) | changes))
    return Trainer(SCHEDULES[name], config, model=linear, data=blobs())


def copy_rows(trainer):
    """How many models worth of memory hold the algorithm's own values, beside parameters and gradients."""
    nodes = trainer.nodes
    stacks = nodes.stacks
    own = {t.untyped_storage().data_ptr() for t in (*stacks.stacks, *stacks.gradients)}
    found = {}

    def look(thing, depth=0):
        if isinstance(thing, torch.Tensor):
            if thing.shape[-1:] == stacks.stacks[0].shape[-1:]:
                found[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
        elif isinstance(thing, Nodes | NodeStacks):
            return
        elif isinstance(thing, dict):
            look(list(thing.values()), depth)
        elif isinstance(thing, list | tuple):
            for part in thing:
                look(part, depth)
        elif hasattr(thing, "__dict__") and depth < 6:
            look(list(vars(thing).values()), depth + 1)

    look([stacks.wide, [state.tensors for state in nodes.states.values()], trainer.algorithm])
    width = stacks.bytes_per_node
    # Other copies of a node may lie in one piece of memory with its parameters.
    shared = sum(size - stacks.rows * width for place, size in found.items() if place in own)
    return (shared + sum(size for place, size in found.items() if place not in own)) / width


def run_to_the_end(trainer):
    trainer.run()
    assert trainer.nodes.stacks.rows == trainer.algorithm.capacity(trainer.schedule, range(NODES))
    return trainer


def messages_of(schedule, rounds):
    """Messages of the first rounds, counted from whole matrices: rows of a node that another one needs."""
    if schedule.kind == "teleport":
        return sum(map(len, crossings(schedule, rounds)))
    n, count = schedule.nodes, 0
    for t in range(rounds):
        dense = schedule.round(t).to_dense()
        count += len({(i % n, j) for i, j in zip(*np.nonzero(dense), strict=True) if i % n != j % n})
    return count


def crossings(schedule, rounds):
    """For each round, who sends which token's model to whom: straight to the next holders of all who mix it."""
    rule = schedule.rule
    for t in range(rounds):
        before, after = (np.concatenate(rule.holders(s)) for s in (t, t + 1))
        (team,) = rule.teams
        dense = team.round(t).to_dense()
        yield {(before[b], after[a], b) for a, b in zip(*np.nonzero(dense), strict=True) if before[b] != after[a]}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_memory_is_what_the_catalogue_says(name):
    trainer = run_to_the_end(trainer_for(name))
    facts = ALGORITHMS[name]
    places = 2 * (NODES - 1) if facts.kept_for == "neighbour" else trainer.nodes.stacks.rows
    assert copy_rows(trainer) == facts.kept * places
    assert facts.memory.startswith(WORDS[facts.kept])
    assert ("for each neighbour" in facts.memory) is (facts.kept_for == "neighbour")


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in (*PACKED, *ASYNCHRONOUS)])
def test_bytes_are_what_the_catalogue_says(name):
    trainer = run_to_the_end(trainer_for(name))
    facts, size = ALGORITHMS[name], trainer.nodes.stacks.bytes_per_node
    models = trainer.nodes.bytes_per_node * NODES / size
    if facts.sent is None:
        assert models == pytest.approx(STEPS * 2 * (NODES - 1))
        assert facts.traffic.startswith("2 (n - 1)/n models ")
        return
    messages = messages_of(trainer.schedule, STEPS)
    assert messages > 0
    assert models == pytest.approx(facts.sent * messages)
    assert facts.traffic.startswith(f"{WORDS[facts.sent]} a message")


@pytest.mark.parametrize("name", ASYNCHRONOUS)
def test_an_averaging_is_a_message_each_way(name):
    trainer = run_to_the_end(trainer_for(name))
    final, facts = trainer.folder.rows[-1], ALGORITHMS[name]
    taken = final["averagings_per_gradient"] * final["gradients"]  # of a node, which has a part in each
    assert taken > 0
    assert trainer.nodes.bytes_per_node == pytest.approx(taken * trainer.nodes.stacks.bytes_per_node)
    assert facts.sent is None


@pytest.mark.parametrize("name", PACKED)
def test_packed_messages_are_as_many_as_rounds_ask_for_and_smaller_than_models(name):
    trainer = run_to_the_end(trainer_for(name))
    counts = trainer.nodes.counts
    assert (counts.messages, counts.silent) == (messages_of(trainer.schedule, STEPS), 0)
    assert 0 < counts.bytes < counts.messages * trainer.nodes.stacks.bytes_per_node
    assert trainer.nodes.bytes_per_node == 0
    assert ALGORITHMS[name].sent is None


VARIANTS = {  # options, models kept for each row, models in a message, all-reduces: as the words say
    "quasi-global": (
        "dsgd",
        {"momentum_mixing": "quasi-global", **MOMENTUM},
        1,
        1,
        0,
        "one with quasi-global momentum",
    ),
    "mixed": ("dsgd", {"momentum_mixing": "mixed", **MOMENTUM}, 0, 2, 0, "two with mixed momentum"),
    "outer": ("dsgd", {"outer_every": 2}, 2, 1, 1 + STEPS // 2, "two with outer steps"),
    "outer push-sum": ("push-sum", {"outer_every": 3}, 3, 1, 1 + STEPS // 3, "two besides with outer steps"),
    "cta": ("dsgd", {"order": "cta"}, 0, 1, 0, "no model more"),
    "awc, at rest": ("dsgd", {"order": "awc"}, 0, 1, 0, "no model more"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_options_cost_what_the_words_say(variant):
    name, changes, kept, sent, reductions, words = VARIANTS[variant]
    trainer = run_to_the_end(trainer_for(name, **changes))
    assert words in f"{ALGORITHMS[name].memory} {ALGORITHMS[name].traffic}"
    assert copy_rows(trainer) == kept * NODES
    messages = sent * messages_of(trainer.schedule, STEPS) + reductions * 2 * (NODES - 1)
    assert trainer.nodes.bytes_per_node * NODES / trainer.nodes.stacks.bytes_per_node == pytest.approx(messages)


def test_awc_keeps_one_model_while_a_round_is_under_way():
    trainer = trainer_for("dsgd", order="awc", local_steps=3)
    held = []
    for step in range(6):
        trainer.algorithm.step(trainer.nodes, step)
        held.append(copy_rows(trainer) / NODES)
    assert held == [1, 1, 0, 1, 1, 0]
    assert "one while a round of awc is under way" in ALGORITHMS["dsgd"].memory


def test_push_sum_on_doubly_stochastic_rounds_keeps_nothing():
    config = settings(algorithm="push-sum", steps=STEPS)
    trainer = Trainer(SCHEDULES["dsgd"], config, model=linear, data=blobs())
    trainer.run()
    assert copy_rows(trainer) == 0
    assert "none on doubly stochastic rounds" in ALGORITHMS["push-sum"].memory


@pytest.mark.parametrize(("handover", "carried"), [("travel", 1), ("reset", 0)])
def test_momentum_travels_with_the_model_or_not_at_all(handover, carried):
    trainer = run_to_the_end(trainer_for("teleportation", handover=handover, **MOMENTUM))
    rule = trainer.schedule.rule
    moves = sum(
        np.count_nonzero(np.concatenate(rule.holders(t)) != np.concatenate(rule.holders(t + 1))) for t in range(STEPS)
    )
    expected = messages_of(trainer.schedule, STEPS) + carried * moves
    assert trainer.nodes.bytes_per_node * NODES / trainer.nodes.stacks.bytes_per_node == pytest.approx(expected)
    assert moves > STEPS


@pytest.mark.slow
@pytest.mark.dist
def test_bytes_between_ranks_are_those_of_nodes_on_ranks_of_their_own():
    """One node a rank: what is counted for the nodes is what goes over the wire."""
    config = TrainConfig(steps=STEPS, batch_size=4, dtype="float64", device="cpu", checkpoint_every=0, momentum=0.9)
    schedules = own_schedules(4, active=2)
    assert set(schedules) == set(ALGORITHMS)
    runs = [(schedule, replace(config, algorithm=name, **given(name))) for name, schedule in schedules.items()]
    ranks = run_ranks(train_all, 4, runs, {"model": linear, "data": blobs()})
    for number, name in enumerate(schedules):
        final = ranks[0][number][1][-1]
        assert final["bytes_on_the_wire"] == pytest.approx(4 * final["bytes_sent_per_node"], abs=4), name
        assert final["bytes_sent_per_node"] > 0


# The catalogue as a whole


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_can_be_made_and_is_described(name):
    algorithm = make_algorithm(settings(algorithm=name, **NEEDED.get(name, {})))
    assert algorithm.name
    assert algorithm.packs is (name in PACKED)
    facts = ALGORITHMS[name]
    assert all(getattr(facts, f.name) not in ("",) for f in fields(facts))
    assert any(letter.isdigit() for letter in facts.source), "a source has a year"


@pytest.mark.parametrize("other", ["ceca", "push-pull", "teleportation", "push-sum"])
@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in ("allreduce", "local-sgd")])
def test_schedules_that_belong_to_one_algorithm_are_refused_by_the_others(name, other):
    config = settings(algorithm=name, steps=1, **NEEDED.get(name, {}))
    if name == other:
        assert algorithm_for(SCHEDULES[other]) == name
        return
    word = make_algorithm(config).name.split()[0]
    with pytest.raises(InputError, match=f"^{word}.* (needs|runs|keeps) .*{SCHEDULES[other].name}"):
        Trainer(SCHEDULES[other], config, model=linear, data=blobs())


@pytest.mark.parametrize("option", OWNERS)
def test_options_of_algorithms_exist_and_have_owners(option):
    assert option in {f.name for f in fields(TrainConfig)}
    assert set(OWNERS[option]) <= set(ALGORITHMS)
    (field,) = (f for f in fields(TrainConfig) if f.name == option)
    words = {
        "order": "cta",
        "momentum_mixing": "mixed",
        "handover": "reset",
        "search_active": True,
        "compressor": "sign",
        "compress_by": "model",
        "consensus_step": "0.5",
        "trigger": "constant:1",
        "acid": True,
        "clock": "simulated",
        "on_failure": "reweight",
    }
    value = words.get(option, 0.25 if option == "outer_momentum" else 4)
    outer = {"outer_every": 4} if option.startswith("outer") else {}
    for name in ALGORITHMS:
        needed = {given: chosen for given, chosen in NEEDED.get(name, {}).items() if given != option}
        if name in OWNERS[option]:
            assert getattr(settings(algorithm=name, **{**outer, **needed, option: value}), option) == value
        else:
            first = "outer-every" if outer else option.replace("_", "-")
            with pytest.raises(InputError, match=f"--{first} belongs to .*{name} would ignore it"):
                settings(algorithm=name, **{**outer, **needed, option: value})
    assert field.default != value


def test_names_are_listed_in_lower_case_with_a_line_each():
    for names in (DATASETS, MODELS, OPTIMIZERS):
        assert all(name == name.lower() and text and "\n" not in text for name, text in names.items())
