"""Parameters of a topology, as typed on the command line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

from topokit.errors import InputError
from topokit_cli.registries import topologies

__all__ = ["read_parameters"]


def read_parameters(topology: str, pairs: Sequence[str]) -> dict[str, Any]:
    """Read ``name=value`` pairs as the types that the topology's builder asks for.

    Raises
    ------
    InputError
        If the topology or a parameter is unknown, a pair has no ``=``, a name comes twice, or a value is no number
        where one is needed.

    Examples
    --------
    >>> read_parameters("random-regular", ["degree=6"])
    {'degree': 6}
    """
    entry = topologies()[topology]
    signature = inspect.signature(entry.build).parameters
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = (part.strip() for part in pair.partition("="))
        name = name.replace("-", "_")
        if not equals or not name:
            raise InputError(f"a parameter is given as name=value, for instance degree=4; got {pair!r}")
        if name == "seed":
            raise InputError("give the seed by --seed")
        if name not in entry.parameters:
            known = ", ".join(known for known in entry.parameters if known != "seed") or "none"
            raise InputError(f"{topology} has no parameter {name!r}; its parameters: {known}")
        if name in values:
            raise InputError(f"the parameter {name!r} is given twice")
        values[name] = _read(name, text, str(signature[name].annotation))
    return values


def _read(name: str, text: str, annotation: str) -> Any:
    # The text of the annotation is enough: evaluating it would need the names that only type checkers import.
    kinds = re.findall(r"\w+", annotation)
    for kind, noun in ((int, "a whole number"), (float, "a number")):
        if kind.__name__ in kinds:
            try:
                return kind(text)
            except ValueError:
                raise InputError(f"the parameter {name} must be {noun}, got {text!r}") from None
    return text
