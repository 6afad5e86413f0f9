"""What a training run is asked to do: one frozen dataclass, read by the command line, `torchrun` and Python alike.

Importing this module loads no PyTorch, so that `--help` and validation stay quick.
"""

from __future__ import annotations

import argparse
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from topokit.errors import InputError
from topokit_trainer.catalog import ALGORITHMS, DATASETS, MODELS, OPTIMIZERS
from topokit_trainer.specs import parse_compressor, parse_consensus_step, parse_speeds, parse_trigger

__all__ = ["TrainConfig", "add_arguments", "config_from_arguments"]


# Options that only some algorithms have a use for.
OWNERS = {
    "order": ("dsgd",),
    "momentum_mixing": ("dsgd",),
    "local_steps": (
        "dsgd",
        "local-sgd",
        "push-sum",
        "relay-sgd",
        "teleportation",
        "sparq-sgd",
        "squarm-sgd",
        "power-gossip",
    ),
    "outer_every": ("dsgd", "push-sum"),
    "outer_momentum": ("dsgd", "push-sum"),
    "outer_lr": ("dsgd", "push-sum"),
    "handover": ("teleportation",),
    "search_active": ("teleportation",),
    "compressor": ("choco-sgd", "sparq-sgd", "squarm-sgd"),
    "compress_by": ("choco-sgd", "sparq-sgd", "squarm-sgd"),
    "consensus_step": ("choco-sgd", "sparq-sgd", "squarm-sgd"),
    "trigger": ("sparq-sgd", "squarm-sgd"),
    "low_rank": ("power-gossip",),
    "power_iterations": ("power-gossip",),
    "acid": ("async-gossip",),
    "clock": ("async-gossip", "ad-psgd"),
    "on_failure": ("dsgd",),
}


def listed(names: Sequence[str]) -> str:
    """Write names as in a sentence."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def option(default: Any, text: str) -> Any:
    """Declare a field with the help text that every command line shows for it."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of one training run; each is also an option of `topokit train` and `python -m topokit_trainer`.

    Raises
    ------
    InputError
        When a value cannot be used; the message names the option.

    Examples
    --------
    >>> TrainConfig(steps=10).batch_size
    32
    >>> TrainConfig(lr=-1)
    Traceback (most recent call last):
    ...
    topokit.errors.InputError: --lr must be at least 0, got -1.0
    """

    algorithm: str = option(
        "auto", "training algorithm, as `topokit list algorithms` tells; auto takes what the schedule asks for"
    )
    order: Literal["atc", "awc", "cta"] = option(
        "atc",
        "for dsgd: atc mixes after the step, cta before it; awc mixes the values before the step, so that exchange and "
        "gradient overlap",
    )
    momentum_mixing: Literal["local", "mixed", "quasi-global"] = option(
        "local",
        "for dsgd with momentum: each node's own (local), averaged like the parameters (mixed), or that of the change "
        "after mixing (quasi-global)",
    )
    local_steps: int = option(
        1, f"gradient steps of each node between two rounds of mixing ({', '.join(OWNERS['local_steps'])})"
    )
    outer_every: int = option(
        0,
        "for dsgd and push-sum: steps between two outer steps (SlowMo), which average exactly with momentum of their "
        "own; 0 is never",
    )
    outer_momentum: float = option(0.5, "momentum of the outer steps")
    outer_lr: float = option(1.0, "learning rate of the outer steps")
    handover: Literal["travel", "reset"] = option(
        "travel", "for teleportation: the state of the optimizer travels with the model, or starts anew at each holder"
    )
    search_active: bool = option(
        False,
        "search for TELEPORTATION's number of active nodes: 1, 2, 4 ... side by side in one run, then all nodes in "
        "another; the schedule names the topology among them (a teleport schedule its inner one)",
    )
    compressor: str = option(
        "top-k:0.1+sign",
        "for choco-sgd, sparq-sgd and squarm-sgd: what messages are packed with, as `topokit list compressors` tells",
    )
    compress_by: Literal["tensor", "model"] = option(
        "tensor", "for choco-sgd, sparq-sgd and squarm-sgd: compress each parameter tensor, or the whole model as one"
    )
    consensus_step: str = option(
        "tuned",
        "for choco-sgd, sparq-sgd and squarm-sgd: consensus step size, as a number; tuned finds it by a short run of "
        "gossip, theory takes the one of the proof (small)",
    )
    trigger: str = option(
        "none",
        "for sparq-sgd and squarm-sgd: nodes speak where their squared change is above c lr^2: constant:C, "
        "step:C,INCREMENT,EVERY[,UNTIL] or power:C,EXPONENT (C t^EXPONENT)",
    )
    low_rank: int = option(1, "for power-gossip: rank of the differences between neighbours in one power iteration")
    power_iterations: int = option(1, "for power-gossip: power iterations in a round (half steps, one message each)")
    acid: bool = option(
        False,
        "for async-gossip: A2CiD2, each node mixing with a second copy of its parameters; constants from the schedule",
    )
    clock: Literal["auto", "simulated", "real"] = option(
        "auto",
        "for async-gossip and ad-psgd: simulated draws when gradients and averagings happen, the same on any number of "
        "ranks; real lets every rank go at its own pace; auto is simulated in one process, real on several ranks",
    )
    speeds: str = option(
        "1",
        "how fast nodes compute, to try stragglers: a number for all, then NODE:SPEED for some (1,3:0.1 slows node 3 "
        "down ten times)",
    )
    slow_by: Literal["sleep", "burn"] = option("sleep", "how a node of speed below 1 loses time: asleep, or computing")
    on_failure: Literal["stop", "reweight"] = option(
        "stop",
        "for dsgd on several ranks, when a rank is lost: stop ends the run, to go on from its last checkpoint; "
        "reweight goes on without the lost nodes, with weights that keep the mean of the others",
    )
    lost_after: float = option(3.0, "seconds without a sign of life after which a rank is taken to be lost")
    data: str = option("digits", "data set: digits (embedded), mnist (needs --data-path), or package.module:function")
    data_path: Path | None = option(None, "folder with files in MNIST format")
    partition: Literal["iid", "dirichlet", "sorted"] = option(
        "iid", "how the training data is dealt to the nodes: alike, by Dirichlet draws, or sorted by label"
    )
    alpha: float = option(0.1, "Dirichlet concentration: small is heterogeneous")
    model: str = option("mlp", "model: mlp, cnn, or package.module:function that returns a torch module")
    optimizer: str = option("sgd", "optimizer: sgd, adam or adamw (any torch optimizer from Python)")
    lr: float = option(0.1, "learning rate")
    momentum: float = option(0.0, "momentum of sgd")
    nesterov: bool = option(False, "Nesterov momentum (squarm-sgd always has it)")
    weight_decay: float = option(0.0, "weight decay")
    lr_schedule: Literal["constant", "cosine", "step"] = option(
        "constant", "learning rate over the run: constant, cosine to zero, or step (a tenth after 1/2 and after 3/4)"
    )
    batch_size: int = option(32, "samples of each node in a step")
    steps: int = option(200, "gradient steps of each node")
    clip: float | None = option(None, "largest norm of a node's gradient")
    perturb: float = option(0.0, "standard deviation of the noise added to each node's starting point")
    seed: int = option(0, "seed of initial model, partition, batches and noise")
    dtype: Literal["float32", "float64", "bfloat16"] = option("float32", "number type of the parameters")
    device: str = option("auto", "device: cpu, cuda, cuda:1 ...; auto takes a GPU where there is one")
    backend: Literal["auto", "gloo", "nccl"] = option("auto", "backend of torch.distributed")
    gradients: Literal["auto", "vmap", "loop"] = option(
        "auto", "how several nodes on one rank compute gradients: vmap, loop, or the faster by measurement"
    )
    eval_every: int = option(50, "steps between two evaluations")
    checkpoint_every: int = option(50, "steps between two checkpoints; 0 writes none")
    keep_checkpoints: int = option(2, "how many of the newest checkpoints stay on disk")
    timeout: float = option(60.0, "seconds a rank waits for another before the run ends with an error")
    threads: int | None = option(None, "threads of each process (PyTorch's choice when not given)")
    out: Path | None = option(None, "folder of the run: configuration, metrics, checkpoints, plot")
    overwrite: bool = option(False, "replace what --out holds instead of going on with it")

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        hints = get_type_hints(type(self))
        for name in (f.name for f in fields(self)):
            if hints[name] in (int, int | None, float, float | None):
                object.__setattr__(self, name, self._number(name, hints[name]))
            choices = get_args(hints[name]) if get_origin(hints[name]) is Literal else ()
            if choices and getattr(self, name) not in choices:
                raise InputError(f"{flag(name)} must be one of {', '.join(choices)}; got {getattr(self, name)!r}")
        for name in ("data_path", "out"):
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, Path(getattr(self, name)))
        ones = ("local_steps", "batch_size", "steps", "eval_every", "keep_checkpoints", "low_rank", "power_iterations")
        zeros = ("outer_every", "outer_momentum", "outer_lr", "lr", "momentum", "weight_decay", "perturb", "seed")
        at_least = dict.fromkeys(ones, 1) | dict.fromkeys((*zeros, "checkpoint_every"), 0)
        for name, low in at_least.items():
            if getattr(self, name) < low:
                raise InputError(f"{flag(name)} must be at least {low}, got {getattr(self, name)}")
        if self.outer_momentum >= 1:
            raise InputError(f"--outer-momentum must be below 1, got {self.outer_momentum}")
        above_zero = {name: getattr(self, name) for name in ("alpha", "timeout", "lost_after", "clip", "threads")}
        for name, value in above_zero.items():
            if value is not None and value <= 0:
                raise InputError(f"{flag(name)} must be above 0, got {value}")
        for name, known in (
            ("algorithm", ("auto", *ALGORITHMS)),
            ("data", DATASETS),
            ("model", MODELS),
            ("optimizer", OPTIMIZERS),
        ):
            value = getattr(self, name)
            own = ":" in value and name in ("data", "model")
            if value not in known and not own:
                extra = ", or package.module:function" if name in ("data", "model") else ""
                raise InputError(f"{flag(name)} must be one of {', '.join(known)}{extra}; got {value!r}")
        for name in ("compressor", "trigger", "consensus_step", "speeds"):
            value = getattr(self, name)
            if name == "consensus_step" and isinstance(value, Real) and not isinstance(value, bool):
                object.__setattr__(self, name, repr(float(value)))
            elif not isinstance(value, str):
                raise InputError(f"{flag(name)} must be text, got {value!r}")
        parse_compressor(self.compressor)
        parse_trigger(self.trigger)
        parse_speeds(self.speeds)
        if (step := parse_consensus_step(self.consensus_step)) is not None:
            object.__setattr__(self, "consensus_step", repr(step))  # 1, "1" and "1.0" are one setting
        if self.data == "mnist" and self.data_path is None:
            raise InputError("--data mnist needs --data-path, a folder with files in MNIST format")
        if self.momentum and self.optimizer != "sgd":
            raise InputError(f"--momentum belongs to sgd; {self.optimizer} would ignore it")
        if self.nesterov and not self.momentum:
            raise InputError("--nesterov is a kind of momentum: give --momentum too")
        if self.algorithm == "squarm-sgd" and self.optimizer != "sgd":
            raise InputError(f"squarm-sgd is SGD with Nesterov momentum; with {self.optimizer} take sparq-sgd")
        defaults = {f.name: f.default for f in fields(self)}
        if self.outer_every > self.steps:
            raise InputError(f"--outer-every {self.outer_every} is more than the {self.steps} --steps of the run")
        for name in ("outer_momentum", "outer_lr"):
            if not self.outer_every and getattr(self, name) != defaults[name]:
                raise InputError(f"{flag(name)} belongs to outer steps, and there are none without --outer-every")
        for name, owners in OWNERS.items():
            if self.algorithm not in ("auto", *owners) and getattr(self, name) != defaults[name]:
                raise InputError(f"{flag(name)} belongs to {listed(owners)}; {self.algorithm} would ignore it")

    def _number(self, name: str, hint: Any) -> int | float | None:
        """Give a plain number for what may have come from NumPy: it is to be written as JSON."""
        value, whole = getattr(self, name), hint in (int, int | None)
        if value is None and hint in (int | None, float | None):
            return None
        try:
            number = operator.index(value) if whole else float(value)
        except (TypeError, ValueError):
            raise InputError(f"{flag(name)} must be a {'whole ' if whole else ''}number, got {value!r}") from None
        if not isfinite(number):
            raise InputError(f"{flag(name)} must be a finite number, got {number}")
        return number

    def to_dict(self) -> dict[str, Any]:
        """Give the settings as plain JSON values."""
        return {name: str(v) if isinstance(v, Path) else v for name, v in asdict(self).items()}

    def trajectory(self) -> dict[str, Any]:
        """Give the settings that decide the trajectory: a run goes on only where these are unchanged."""
        elsewhere = {
            "out",
            "overwrite",
            "eval_every",
            "timeout",
            "keep_checkpoints",
            "checkpoint_every",
            "threads",
            "backend",
            "slow_by",
            "lost_after",
            "on_failure",
        }
        return {name: value for name, value in self.to_dict().items() if name not in elsewhere}


def flag(name: str) -> str:
    """Give the command-line spelling of a field."""
    return "--" + name.replace("_", "-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one option for each field of `TrainConfig` to an argparse parser."""
    hints = get_type_hints(TrainConfig)
    for f in fields(TrainConfig):
        hint, text = hints[f.name], f.metadata["help"]
        if hint is bool:
            parser.add_argument(flag(f.name), action="store_true", help=text)
            continue
        choices = get_args(hint) if get_origin(hint) is Literal else None
        kinds = [kind for kind in get_args(hint) if kind is not type(None)] if choices is None else []
        parser.add_argument(
            flag(f.name),
            type=str if choices else (kinds[0] if kinds else hint),
            choices=choices,
            default=f.default,
            help=f"{text} (default: {'none' if f.default is None else f.default})",
        )


def config_from_arguments(values: Mapping[str, Any] | argparse.Namespace) -> TrainConfig:
    """Build the configuration from parsed options; other entries are left alone."""
    entries = vars(values) if isinstance(values, argparse.Namespace) else values
    return TrainConfig(**{f.name: entries[f.name] for f in fields(TrainConfig) if f.name in entries})


def arguments_from_config(config: TrainConfig) -> Sequence[str]:
    """Give the command-line options that lead to this configuration (for starting ranks)."""
    words: list[str] = []
    for f in fields(config):
        value = getattr(config, f.name)
        if value == f.default:
            continue
        words += [flag(f.name)] if value is True else [flag(f.name), str(value)]
    return words
