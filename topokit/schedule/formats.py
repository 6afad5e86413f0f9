"""The schedule file as pydantic models: the boundary where untrusted JSON becomes known to be well formed.

The models know the shape of the file (keys, types, lengths); what a schedule means (sums, connectedness, claims) is
checked by `topokit.schedule.model.Schedule`. The published JSON Schema is made from them.
"""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from topokit.errors import ScheduleError

__all__ = [
    "ClaimsFile",
    "CyclicFile",
    "CyclicHeader",
    "PlaceFile",
    "RoundFile",
    "json_schema",
    "parse",
    "schema_text",
    "shown",
]

Node = Annotated[int, Field(ge=0)]
Weight = int | float | Annotated[str, Field(pattern=r"^-?[0-9]+(/[1-9][0-9]*)?$")]


class FileModel(BaseModel):
    """Base of the file models: no unknown keys, no conversions, no NaN or infinity."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class RoundFile(FileModel):
    """One round as three arrays of one length, one entry for each edge (self weights included), in any order.

    Entry k says: in this round node target[k] receives the value of node source[k] and gives it weight[k] in its next
    value: x_target <- sum of weight * x_source. In the mixing matrix W[target, source] = weight: rows belong to the
    nodes that receive, columns to the nodes that send.
    """

    target: list[Node] = Field(
        description="Node that receives: the row of the mixing matrix. Nodes are numbered from 0 to nodes - 1."
    )
    source: list[Node] = Field(
        description="Node whose value is received: the column of the mixing matrix. A self weight has source = target."
    )
    weight: list[Weight] = Field(
        description="Weight of the source's current value in the target's next value: a finite number, or an exact "
        'fraction as a string in which numerator and denominator fit into 64 bits ("1/3", "-1/4", "1"). The round '
        "counts as exact when it has only fractions and whole numbers."
    )


class ClaimsFile(FileModel):
    """What the designer promises; checked when the file is read. What is absent or null is not claimed."""

    symmetric: bool | None = Field(default=None, description="Every round's matrix equals its transpose.")
    doubly_stochastic: bool | None = Field(
        default=None, description="Rows and columns of every round's matrix sum to one (signs are another claim)."
    )
    nonnegative: bool | None = Field(default=None, description="No weight is negative.")
    period: int | None = Field(
        default=None, ge=1, description="Number of rounds after which the schedule repeats: the length of rounds."
    )
    exact_averaging: bool | None = Field(
        default=None, description="After one period every node holds the average: the product of the rounds is J."
    )
    period_contraction: float | None = Field(
        default=None,
        ge=0,
        description="Spectral norm of (last round ... first round) - J, J the matrix of 1/nodes: the factor by which "
        "one period shrinks the distance to the average at least.",
    )


class PlaceFile(FileModel):
    """Where one node is meant to run."""

    node: Node = Field(description="The node.")
    host: str | None = Field(default=None, description="Name of the machine.")
    rank: int | None = Field(default=None, ge=0, description="Rank of the process.")
    device: str | None = Field(default=None, description='Device of the process, for instance "cuda:0".')


class CyclicHeader(FileModel):
    """Everything of a cyclic schedule except its rounds (the ``header`` of the binary twin)."""

    format: Literal["topokit-schedule"] = Field(description="Marks the file as a mixing schedule.")
    version: Literal[1] = Field(description="Version of the file format.")
    kind: Literal["cyclic"] = Field(
        description="How rounds follow one another. cyclic: one after the other, again and again."
    )
    nodes: int = Field(ge=1, description="Number of nodes; they are numbered from 0.")
    copies: Literal[1] = Field(default=1, description="Number of states that each node keeps.")
    mixing: Literal["doubly-stochastic", "column-stochastic"] = Field(
        default="doubly-stochastic",
        description="Which sums are one. doubly-stochastic: rows and columns of every round's matrix. "
        "column-stochastic: columns only (push-sum).",
    )
    provenance: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Where the schedule comes from: topology, parameters, weights, seed, topokit (its version), and "
        "anything else worth keeping.",
    )
    claims: ClaimsFile = Field(
        default_factory=ClaimsFile, description="What the designer promises; checked when the file is read."
    )
    placement: list[PlaceFile] | None = Field(
        default=None, description="Where nodes are meant to run, for designs made for a particular network."
    )
    hash: str | None = Field(
        default=None,
        pattern=r"^sha256:[0-9a-f]{64}$",
        description="Hash of the content without this field: SHA-256 of its JSON text in ASCII with sorted keys and "
        "no spaces, optional fields with defaults written out, entries sorted by target and source, fractions in "
        "lowest terms. Optional, so that files can be written by hand; checked where present.",
    )


class CyclicFile(CyclicHeader):
    """A mixing schedule of decentralized averaging: rounds used one after the other, again and again."""

    rounds: list[RoundFile] = Field(min_length=1, description="The rounds of one period, the first one first.")


# A further kind is a further model here; `kind` tells which one reads a file.
KINDS: dict[str, type[CyclicFile]] = {"cyclic": CyclicFile}
LATER_KINDS = ("sampled", "matchings", "teleport", "pairwise")


def json_schema() -> dict[str, Any]:
    """Give the JSON Schema (2020-12) of the schedule file, as shipped in the package."""
    schema = CyclicFile.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "topokit mixing schedule, version 1",
    }


def schema_text() -> str:
    """Give the text of the shipped JSON Schema file."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"


def parse(document: Any, header_only: bool = False) -> Any:
    """Turn a JSON value into a file model (without rounds for `header_only`).

    Raises
    ------
    ScheduleError
        With the place of the first fault, what was found and what was expected.
    """
    if not isinstance(document, dict):
        raise ScheduleError(f'expected a JSON object with the key "format", found {shown(document)}')
    for key, expected in (("format", "topokit-schedule"), ("version", 1)):
        if key not in document:
            raise ScheduleError(
                f'not a mixing schedule: the key "{key}" is missing; expected "{key}": {shown(expected)}'
            )
        if document[key] != expected or isinstance(document[key], bool):
            raise ScheduleError(_wrong_format(key, document[key], expected))
    kind = document.get("kind", None)
    if kind in LATER_KINDS:
        raise ScheduleError(f'kind is "{kind}"; this version of topokit reads cyclic schedules only')
    if not isinstance(kind, str) or kind not in KINDS:
        found = shown(kind) if "kind" in document else "nothing"
        raise ScheduleError(f'the key "kind" should be "cyclic", found {found}')
    model = CyclicHeader if header_only else KINDS[kind]
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ScheduleError(_sentence(error, document, model)) from None


def _wrong_format(key: str, found: Any, expected: Any) -> str:
    if key == "version":
        return f"version is {shown(found)}; this version of topokit reads version {expected}"
    return f"not a mixing schedule: {key} is {shown(found)}, expected {shown(expected)}"


def _sentence(error: ValidationError, document: Any, model: type[BaseModel]) -> str:
    """Say the first fault in words; unknown keys first, because a misspelt key also looks like a missing one."""
    faults = error.errors(include_url=False, include_context=True)
    faults.sort(key=lambda fault: fault["type"] != "extra_forbidden")
    first = faults[0]
    # A weight fails once as a whole number, once as a number and once as text: that is one fault, not three.
    places = {_place(fault["loc"]) for fault in faults}
    others = len(places) - 1
    more = f" (and {others} more {'place' if others == 1 else 'places'} at fault)" if others else ""
    return _fault(first, document, model) + more


def _fault(fault: Any, document: Any, model: type[BaseModel]) -> str:
    loc, kind = fault["loc"], fault["type"]
    if kind == "extra_forbidden":
        return _unknown_key(loc, model)
    if kind == "missing":
        return f'{_where(loc[:-1])}the key "{loc[-1]}" is missing'
    if "recursion" in fault["msg"].lower():
        return f"{_where(loc)}nested too deeply"
    found = shown(_value_at(document, loc))
    if loc[0] == "rounds" and "weight" in loc:
        return (
            f'{_where(loc)}expected a finite number or a fraction such as "1/3", found {found}'
            if len(loc) > 3
            else f"{_where(loc)}expected a list, found {found}"
        )
    if kind == "too_short":
        return f"{_where(loc)}expected at least one round, found none"
    return f"{_where(loc)}expected {_expected(fault)}, found {found}"


_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "finite_number": "a finite number",
}


def _expected(fault: Any) -> str:
    context = fault.get("ctx", {})
    if fault["type"] == "literal_error":
        return str(context["expected"]).replace("'", '"')
    if fault["type"] == "greater_than_equal":
        return f"at least {context['ge']:g}"
    if fault["type"] == "string_pattern_mismatch":
        return '"sha256:" and 64 hexadecimal digits'
    return _TYPES.get(fault["type"], str(fault["msg"]))


def _unknown_key(loc: tuple[Any, ...], model: type[BaseModel]) -> str:
    inner: dict[str, type[BaseModel]] = {"rounds": RoundFile, "claims": ClaimsFile, "placement": PlaceFile}
    known = list((inner.get(str(loc[0]), model) if len(loc) > 1 else model).model_fields)
    near = get_close_matches(str(loc[-1]), known, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(known)}"
    return f"{_where(loc[:-1])}unknown key {shown(str(loc[-1]))}; {hint}"


def _place(loc: tuple[Any, ...]) -> tuple[Any, ...]:
    return loc[: {"rounds": 4, "provenance": 2}.get(str(loc[0]), len(loc))] if loc else loc


def _where(loc: tuple[Any, ...]) -> str:
    """Name a place: ``round 3: weight[7]: `` for ("rounds", 3, "weight", 7, ...)."""
    loc = _place(loc)
    if loc[:1] == ("rounds",) and len(loc) > 1:
        return ": ".join([f"round {loc[1]}", *([_joined(loc[2:])] if loc[2:] else [])]) + ": "
    return f"{_joined(loc)}: " if loc else ""


def _joined(loc: tuple[Any, ...]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _value_at(document: Any, loc: tuple[Any, ...]) -> Any:
    value = document
    for part in loc:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            break
    return value


def shown(value: Any) -> str:
    """Show a JSON value in a message: short, on one line, the way it looks in the file."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    names = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return names[value]
    text = ascii(value)
    if isinstance(value, str):
        text = '"' + text[1:-1] + '"'
    return text if len(text) <= 60 else text[:57] + "..."
