"""The settings of a run: every one documented, checked, and carried unchanged from command line to command line."""

import argparse
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from topokit.errors import InputError
from topokit_trainer.catalog import DATASETS, MODELS, OPTIMIZERS
from topokit_trainer.config import (
    TrainConfig,
    add_arguments,
    arguments_from_config,
    config_from_arguments,
    flag,
)


def parser():
    made = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(made)
    return made


def test_every_option_is_documented():
    actions = {action.option_strings[-1]: action for action in parser()._actions}
    for f in fields(TrainConfig):
        action = actions.pop(flag(f.name))
        assert len(f.metadata["help"]) > 8
        assert action.help.startswith(f.metadata["help"])
        if f.default not in (None, False):
            assert action.help.endswith(f"(default: {f.default})")
    assert list(actions) == ["--help"]


def test_choices_are_in_the_help():
    words = {f.name: f.metadata["help"] for f in fields(TrainConfig)}
    for name, known in (("data", DATASETS), ("model", MODELS), ("optimizer", OPTIMIZERS)):
        assert all(choice in words[name] for choice in known)
    assert "`topokit list algorithms`" in words["algorithm"]  # too many for a line


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1).filter(
    lambda s: not s.startswith("-")
)
POSITIVE = st.floats(1e-12, 1e12)
ANYTHING = {
    **dict.fromkeys(("local_steps", "batch_size", "steps", "eval_every", "keep_checkpoints"), st.integers(1, 10**9)),
    **dict.fromkeys(("low_rank", "power_iterations"), st.integers(1, 100)),
    "compressor": st.sampled_from(["sign", "top-k:0.01+qsgd:15,64", "low-rank:2"]),
    "consensus_step": st.sampled_from(["theory", "0.25", "1e-3"]),
    "trigger": st.sampled_from(["constant:2.5", "step:2,1,100,500", "power:1,0.5"]),
    **dict.fromkeys(("weight_decay", "perturb", "lr", "outer_lr"), st.floats(0, 1e6)),
    "outer_momentum": st.floats(0, 0.99),
    **dict.fromkeys(("seed", "checkpoint_every", "outer_every"), st.integers(0, 10**9)),
    "alpha": POSITIVE,
    **dict.fromkeys(("timeout", "lost_after"), POSITIVE),
    "speeds": st.sampled_from(["0.5", "1,3:0.1", "2:0.25,7:4"]),
    "clip": st.none() | POSITIVE,
    "threads": st.none() | st.integers(1, 64),
    "data": st.sampled_from(["digits", "own.module:name"]),
    "model": st.sampled_from([*MODELS, "own.module:name"]),
    "optimizer": st.sampled_from(list(OPTIMIZERS)),
    "data_path": st.none() | NAMES.map(Path),
    "out": st.none() | NAMES.map(Path),
    "device": st.sampled_from(["auto", "cpu", "cuda:1"]),
    **dict.fromkeys(("overwrite", "search_active", "acid"), st.booleans()),
    **{
        name: st.sampled_from(get_args(hint))
        for name, hint in get_type_hints(TrainConfig).items()
        if get_args(hint) and isinstance(get_args(hint)[0], str)
    },
}


@hypothesis_settings(max_examples=80, deadline=None)
@given(st.fixed_dictionaries({}, optional=ANYTHING))
def test_command_lines_lead_back_to_the_configuration(values):
    if not 0 < values.get("outer_every", 0) <= values.get("steps", 200):
        values = {name: value for name, value in values.items() if name != "outer_every"}
        values = {name: value for name, value in values.items() if name not in ("outer_momentum", "outer_lr")}
    config = TrainConfig(**values)
    words = list(arguments_from_config(config))
    assert config_from_arguments(parser().parse_args(words)) == config
    again = json.loads(json.dumps(config.to_dict(), allow_nan=False))
    assert TrainConfig(**again) == config


def test_every_field_is_covered_by_the_round_trip():
    rest = {f.name for f in fields(TrainConfig)} - set(ANYTHING)
    assert rest == {"algorithm", "momentum", "nesterov"}
    config = TrainConfig(algorithm="dsgd", order="awc", momentum=0.9, nesterov=True)
    assert config_from_arguments(parser().parse_args(arguments_from_config(config))) == config
    config = TrainConfig(algorithm="allreduce")
    assert arguments_from_config(config) == ["--algorithm", "allreduce"]
    assert arguments_from_config(TrainConfig()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nesterov": True}, "--nesterov is a kind of momentum: give --momentum too"),
        ({"algorithm": "squarm-sgd", "optimizer": "adam"}, "squarm-sgd is SGD with Nesterov momentum; with adam take"),
        ({"compressor": None}, "--compressor must be text, got None"),
        ({"trigger": 3.0}, "--trigger must be text, got 3.0"),
        ({"compressor": "zip"}, "--compressor must be one of identity, .*; got 'zip'"),
        ({"trigger": "power:2,1"}, "--trigger: power takes an exponent below 1"),
        ({"consensus_step": "2"}, "--consensus-step must be above 0 and at most 1, got 2"),
        ({"consensus_step": np.float32(0)}, "--consensus-step must be above 0 and at most 1, got 0"),
        ({"consensus_step": True}, "--consensus-step must be text, got True"),
        ({"consensus_step": None}, "--consensus-step must be text, got None"),
        ({"algorithm": "choco-sgd", "trigger": "constant:1"}, "--trigger belongs to sparq-sgd and squarm-sgd"),
        ({"algorithm": "choco-sgd", "local_steps": 2}, "--local-steps belongs to .*; choco-sgd would ignore it"),
    ],
)
def test_what_compressed_messages_cannot_do_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        TrainConfig(**changes)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        *((value, "0.3") for value in (0.3, "0.3", " 3e-1", np.float64(0.3))),
        *((value, "1.0") for value in (1, 1.0, "1", "1.0", np.int64(1), np.float32(1))),
        (np.float32(0.25), "0.25"),
        ("1e-3", "0.001"),
        ("tuned", "tuned"),
        ("theory", "theory"),
    ],
)
def test_a_consensus_step_may_be_a_number_however_it_is_written(given, kept):
    config = TrainConfig(consensus_step=given)
    assert config.consensus_step == kept
    assert TrainConfig(**json.loads(json.dumps(config.to_dict()))) == config


def test_outer_steps_that_never_come_are_refused():
    with pytest.raises(InputError, match="--outer-every 500 is more than the 200 --steps of the run"):
        TrainConfig(outer_every=500)


def test_outer_momentum_is_below_one():
    with pytest.raises(InputError, match="--outer-momentum must be below 1, got 1"):
        TrainConfig(outer_every=5, outer_momentum=1.0)


@pytest.mark.parametrize("values", [{"outer_momentum": 0.9}, {"outer_lr": 0.5}])
def test_outer_steps_have_to_be_asked_for(values):
    with pytest.raises(InputError, match="there are none without --outer-every"):
        TrainConfig(**values)


def test_other_entries_of_a_command_line_are_left_alone():
    assert config_from_arguments({"steps": 3, "schedule": "s.json"}) == TrainConfig(steps=3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        *(({name: 0}, rf"--{name.replace('_', '-')} must be at least 1, got 0") for name in
          ("local_steps", "batch_size", "steps", "eval_every", "keep_checkpoints")),
        *(({name: -1}, rf"--{name.replace('_', '-')} must be at least 0, got -1") for name in
          ("lr", "momentum", "weight_decay", "perturb", "seed", "checkpoint_every", "outer_every", "outer_momentum",
           "outer_lr")),
        *(({name: 0}, rf"--{name} must be above 0, got 0") for name in ("alpha", "timeout", "clip", "threads")),
        *(({name: float("nan")}, rf"--{name} must be a finite number, got nan") for name in ("lr", "alpha", "clip")),
        *(({name: float("inf")}, rf"--{name} must be a finite number, got inf") for name in ("lr", "timeout")),
        ({"steps": 1.5}, "--steps must be a whole number, got 1.5"),
        ({"steps": None}, "--steps must be a whole number, got None"),
        ({"batch_size": "many"}, "--batch-size must be a whole number, got 'many'"),
        ({"lr": "fast"}, "--lr must be a number, got 'fast'"),
        ({"order": "dadam"}, "--order must be one of atc, awc, cta; got 'dadam'"),
        ({"partition": "equal"}, "--partition must be one of iid, dirichlet, sorted; got 'equal'"),
        ({"lr_schedule": "linear"}, "--lr-schedule must be one of constant, cosine, step; got 'linear'"),
        ({"dtype": "float16"}, "--dtype must be one of float32, float64, bfloat16; got 'float16'"),
        ({"backend": "mpi"}, "--backend must be one of auto, gloo, nccl; got 'mpi'"),
        ({"gradients": "fast"}, "--gradients must be one of auto, vmap, loop; got 'fast'"),
        ({"algorithm": "sgp"}, "--algorithm must be one of auto, dsgd, .*, allreduce; got 'sgp'"),
        ({"algorithm": "own:sgp"}, "--algorithm must be one of auto, dsgd, .*, allreduce; got 'own:sgp'"),
        ({"momentum_mixing": "global"}, "--momentum-mixing must be one of local, mixed, quasi-global; got 'global'"),
        ({"handover": "lost"}, "--handover must be one of travel, reset; got 'lost'"),
        ({"optimizer": "lbfgs"}, "--optimizer must be one of sgd, adam, adamw; got 'lbfgs'"),
        ({"data": "cifar"}, "--data must be one of digits, mnist, or package.module:function; got 'cifar'"),
        ({"model": "vit"}, "--model must be one of mlp, cnn, or package.module:function; got 'vit'"),
        ({"data": "mnist"}, "--data mnist needs --data-path"),
        ({"optimizer": "adam", "momentum": 0.9}, "--momentum belongs to sgd; adam would ignore it"),
        ({"algorithm": "allreduce", "order": "awc"}, "--order belongs to dsgd; allreduce would ignore it"),
        ({"algorithm": "allreduce", "local_steps": 2}, "--local-steps belongs to dsgd, .*; allreduce would"),
        ({"algorithm": "push-sum", "handover": "reset"}, "--handover belongs to teleportation; push-sum would"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_used_are_named(values, message):
    with pytest.raises(InputError, match=message):
        TrainConfig(**values)


def test_numbers_from_numpy_are_plain_numbers_afterwards():
    config = TrainConfig(steps=np.int64(3), seed=np.uint8(4), lr=np.float32(0.5), clip=np.float64(1), out="run")
    assert json.loads(json.dumps(config.to_dict()))["seed"] == 4
    assert (config.lr, config.out) == (0.5, Path("run"))


def test_what_decides_the_trajectory():
    everything = set(TrainConfig().to_dict())
    kept = set(TrainConfig().trajectory())
    assert everything - kept == {
        "out", "overwrite", "timeout", "keep_checkpoints", "checkpoint_every", "eval_every", "threads", "backend",
        "lost_after", "on_failure", "slow_by",
    }  # fmt: skip


def test_options_are_listed_without_loading_pytorch():
    code = (
        "import sys, argparse, topokit_trainer.config as c; c.add_arguments(argparse.ArgumentParser());"
        "sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'cvxpy', 'sklearn', 'numba')))"
    )
    root = Path(__file__).parents[2]
    environment = {"PYTHONPATH": f"{root}:{root / 'trainer'}"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
