"""What compressors, triggers and speeds are asked for in words, read without loading PyTorch.

A compressor is ``name``, ``name:number`` or ``name:number,number``; two are joined by a plus: the first chooses what is
sent, the second how its values are written (``top-k:0.01+sign``). A trigger has the same form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite

from topokit.errors import InputError
from topokit_trainer.catalog import COMPRESSORS

__all__ = ["Stage", "Trigger", "parse_compressor", "parse_consensus_step", "parse_speeds", "parse_trigger"]


@dataclass(frozen=True)
class Stage:
    """One named step with its numbers.

    Attributes
    ----------
    name : str
    numbers : tuple of float
    """

    name: str
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True)
class Form:
    """What numbers a stage takes: names for messages, whether each fits, and how many can be left out."""

    words: tuple[str, ...] = ()
    fits: Callable[[float], bool] = lambda value: value > 0
    optional: int = 0


def _whole(value: float) -> bool:
    return 1 <= value <= 2**24 and value == int(value)


FORMS: Mapping[str, Form] = {
    "top-k": Form(("a fraction above 0, at most 1",), lambda value: 0 < value <= 1),
    "rand-k": Form(("a fraction above 0, at most 1",), lambda value: 0 < value <= 1),
    "qsgd": Form(
        ("a whole number of levels from 1 to 2^24", "a whole number of values in a bucket from 1 to 2^24"),
        _whole,
        optional=1,
    ),
    "low-rank": Form(("a whole rank of at least 1",), _whole),
}
CHOOSING = ("top-k", "rand-k", "low-rank")  # what can be followed by a way to write the values
WRITING = {"low-rank": ("bf16", "fp16")}  # where not every one makes sense


def parse_compressor(text: str, option: str = "--compressor") -> tuple[Stage, ...]:
    """Read a compressor.

    Raises
    ------
    InputError

    Examples
    --------
    >>> parse_compressor("top-k:0.01+sign")
    (Stage(name='top-k', numbers=(0.01,)), Stage(name='sign', numbers=()))
    >>> parse_compressor("top-k:2")
    Traceback (most recent call last):
    ...
    topokit.errors.InputError: --compressor: top-k takes a fraction above 0, at most 1; got 2
    """
    stages = tuple(_stage(part, option, COMPRESSORS, FORMS) for part in text.split("+"))
    if len(stages) > 2:
        raise InputError(f"{option} {text!r} has {len(stages)} parts; at most one that chooses and one that writes")
    if len(stages) == 2:
        first, second = stages
        if first.name not in CHOOSING:
            raise InputError(f"{option} {text!r}: before the plus belongs one of {', '.join(CHOOSING)}")
        writers = WRITING.get(first.name, tuple(name for name in COMPRESSORS if name not in (*CHOOSING, "identity")))
        if second.name not in writers:
            raise InputError(f"{option} {text!r}: after {first.name} belongs one of {', '.join(writers)}")
    return stages


@dataclass(frozen=True)
class Trigger:
    """Thresholds of an event trigger: node i speaks where ||x_i - hat x_i||^2 > c_t eta^2.

    Attributes
    ----------
    kind : {"none", "constant", "step", "power"}
    numbers : tuple of float
        c; c_0, increment, steps between two increments and (optional) the step after which it stays; c_0 and exponent.
    """

    kind: str = "none"
    numbers: tuple[float, ...] = ()

    @property
    def needed(self) -> bool:
        """Whether there is any."""
        return self.kind != "none"

    def threshold(self, step: int) -> float:
        """Give c_t after ``step`` gradient steps.

        Examples
        --------
        >>> [parse_trigger("step:2,1,10,30").threshold(t) for t in (9, 10, 35, 90)]
        [2.0, 3.0, 5.0, 5.0]
        >>> parse_trigger("power:2,0.5").threshold(100)
        20.0
        """
        if self.kind == "constant":
            return self.numbers[0]
        if self.kind == "step":
            start, increment, every, *until = self.numbers
            return start + increment * (min(step, *until) // every if until else step // every)
        if self.kind == "power":
            return self.numbers[0] * float(step ** self.numbers[1])
        return 0.0


TRIGGERS: Mapping[str, Form] = {
    "none": Form(),
    "constant": Form(("a finite threshold of at least 0",), lambda value: value >= 0),
    "step": Form(
        (
            "a first threshold of at least 0",
            "an increment of at least 0",
            "a number of steps between increments",
            "a step after which it stays",
        ),
        lambda value: value >= 0,
        optional=1,
    ),
    "power": Form(("a first threshold of at least 0", "an exponent from 0 to below 1"), lambda value: value >= 0),
}


def parse_trigger(text: str, option: str = "--trigger") -> Trigger:
    """Read a trigger.

    Raises
    ------
    InputError

    Examples
    --------
    >>> parse_trigger("constant:2.5").threshold(7)
    2.5
    >>> parse_trigger("sometimes")
    Traceback (most recent call last):
    ...
    topokit.errors.InputError: --trigger must be one of none, constant, step, power; got 'sometimes'
    """
    stage = _stage(text, option, TRIGGERS, TRIGGERS)
    if stage.name == "step" and stage.numbers[2] < 1:
        raise InputError(f"{option}: step takes a number of steps between increments of at least 1")
    if stage.name == "power" and stage.numbers[1] >= 1:
        raise InputError(f"{option}: power takes an exponent below 1, so that nodes do not fall silent")
    return Trigger(stage.name, stage.numbers)


def parse_consensus_step(text: str, option: str = "--consensus-step") -> float | None:
    """Read a consensus step size: a number, or None for the words ``tuned`` and ``theory``.

    Raises
    ------
    InputError

    Examples
    --------
    >>> parse_consensus_step("0.3"), parse_consensus_step("tuned")
    (0.3, None)
    """
    if text in ("tuned", "theory"):
        return None
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{option} must be tuned, theory or a number; got {text!r}") from None
    if not 0 < value <= 1:
        raise InputError(f"{option} must be above 0 and at most 1, got {text}")
    return value


def _stage(text: str, option: str, known: Mapping[str, object], forms: Mapping[str, Form]) -> Stage:
    name, colon, rest = text.strip().partition(":")
    if name not in known:
        raise InputError(f"{option} must be one of {', '.join(known)}; got {name!r}")
    form = forms.get(name, Form())
    given = rest.split(",") if colon else []
    least, most = len(form.words) - form.optional, len(form.words)
    if not least <= len(given) <= most:
        wanted = f"takes {', '.join(form.words[:least]) or 'no number'}"
        wanted += "".join(f" (and, if wanted, {words})" for words in form.words[least:])
        raise InputError(f"{option}: {name} {wanted}; got {rest!r}" if given else f"{option}: {name} {wanted}")
    numbers = []
    for words, part in zip(form.words, given, strict=False):
        try:
            value = float(part)
        except ValueError:
            value = float("nan")
        if not isfinite(value) or not form.fits(value):
            raise InputError(f"{option}: {name} takes {words}; got {part.strip()}")
        numbers.append(value)
    return Stage(name, tuple(numbers))


def parse_speeds(text: str) -> tuple[float, dict[int, float]]:
    """Read how fast nodes compute: the speed of most, and those of some.

    Raises
    ------
    InputError

    Examples
    --------
    >>> parse_speeds("1,3:0.1")
    (1.0, {3: 0.1})
    >>> parse_speeds("0:0.5")
    (1.0, {0: 0.5})
    """
    common = 1.0
    own: dict[int, float] = {}
    for place, word in enumerate(text.split(",")):
        node, colon, value = word.strip().rpartition(":")
        try:
            speed = float(value)
            number = int(node) if colon else -1
        except ValueError:
            speed, number = -1.0, -1
        if not 0 < speed < inf or (colon and number < 0) or (not colon and place):
            raise InputError(f"--speeds must be like 1 or 1,3:0.1,5:2 (speeds above 0, of nodes from 0); got {text!r}")
        if colon and number in own:
            raise InputError(f"--speeds gives node {number} twice; once is right")
        if colon:
            own[number] = speed
        else:
            common = speed
    return common, own
