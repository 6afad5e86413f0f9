"""The binary twin of the schedule file: a ``.npz`` archive for schedules too large for text.

It holds the header of the text file as one JSON string, and the entries of all rounds one after the other:
``target``, ``source``; ``numerator`` and ``denominator`` where weights are exact; ``weight`` where they are not;
``offsets``, so that round t has the entries from ``offsets[t]`` to ``offsets[t + 1]``. Where exact and floating-point
rounds meet in one schedule, all are present, and a denominator of 0 marks the entries that have a weight only.
"""

from __future__ import annotations

import io
import json
import zipfile
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topokit.errors import InputError, ScheduleError
from topokit.matrix import MixingMatrix
from topokit.schedule.formats import CyclicHeader, parse

if TYPE_CHECKING:
    from topokit.schedule.model import Schedule

__all__ = ["decode", "encode"]

INTEGERS = ("target", "source", "numerator", "denominator", "offsets")
EXACT = {"numerator", "denominator"}


def encode(schedule: Schedule) -> bytes:
    """Give the bytes of the archive; the same schedule gives the same bytes."""
    header = {**schedule.header(), "hash": schedule.content_hash}
    rounds = schedule.rounds
    arrays: dict[str, NDArray[Any]] = {
        "header": np.array(json.dumps(header, sort_keys=True, allow_nan=False)),
        "target": np.concatenate([W.target for W in rounds]),
        "source": np.concatenate([W.source for W in rounds]),
        "offsets": np.concatenate([[0], np.cumsum([W.nonzeros for W in rounds])]).astype(np.int64),
    }
    if any(W.is_exact for W in rounds):
        none = [np.zeros(W.nonzeros, dtype=np.int64) for W in rounds]
        arrays["numerator"] = np.concatenate(
            [n if W.numerator is None else W.numerator for W, n in zip(rounds, none, strict=True)]
        )
        arrays["denominator"] = np.concatenate(
            [n if W.denominator is None else W.denominator for W, n in zip(rounds, none, strict=True)]
        )
    if not all(W.is_exact for W in rounds):
        arrays["weight"] = np.concatenate([W.weight for W in rounds])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def decode(data: bytes) -> tuple[CyclicHeader, list[MixingMatrix]]:
    """Read the bytes of an archive: the checked header and the rounds.

    Raises
    ------
    ScheduleError
        With the array, the round and the entry at fault.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError, NotImplementedError) as error:
        raise ScheduleError(f"the .npz archive is damaged or truncated: {error}") from None
    header = _header(arrays)
    _check_arrays(arrays)
    offsets = arrays["offsets"].tolist()
    rounds = []
    for t, (start, stop) in enumerate(pairwise(offsets)):
        try:
            rounds.append(_round(header.nodes, {k: v[start:stop] for k, v in arrays.items() if k != "header"}))
        except InputError as error:
            raise ScheduleError(f"round {t}: {error}") from None
    return header, rounds


def _header(arrays: dict[str, NDArray[Any]]) -> CyclicHeader:
    if "header" not in arrays:
        raise ScheduleError(f"not a mixing schedule: the array header is missing; found {', '.join(arrays) or 'none'}")
    text = arrays["header"]
    if text.shape != () or text.dtype.kind != "U":
        raise ScheduleError("the array header should hold one string")
    try:
        document = json.loads(text.item())
    except ValueError as error:
        raise ScheduleError(f"the array header is not JSON: {error}") from None
    header: CyclicHeader = parse(document, header_only=True)
    return header


def _check_arrays(arrays: dict[str, NDArray[Any]]) -> None:
    names = set(arrays)
    known = {"header", "target", "source", "weight", "offsets"} | EXACT
    if names - known:
        raise ScheduleError(f"unknown array {min(names - known)}; known: {', '.join(sorted(known))}")
    needed = {"target", "source", "offsets"} | (EXACT if names & EXACT else {"weight"})
    if needed - names:
        raise ScheduleError(f"the array {min(needed - names)} is missing")
    for name in sorted(names - {"header"}):
        array, kinds = arrays[name], "i" if name in INTEGERS else "f"
        if array.ndim != 1 or array.dtype.kind not in kinds:
            wanted = "signed whole numbers" if name in INTEGERS else "floating-point numbers"
            raise ScheduleError(f"{name} has shape {array.shape} and type {array.dtype}; expected a list of {wanted}")
    size, offsets = arrays["target"].size, arrays["offsets"]
    for name in sorted(names - {"header", "offsets"}):
        if arrays[name].size != size:
            raise ScheduleError(f"{name} has {arrays[name].size} entries and target {size}; expected one length")
    if offsets.size < 2:
        raise ScheduleError("a schedule needs at least one round, found none")
    if offsets[0] != 0 or offsets[-1] != size or (offsets[1:] < offsets[:-1]).any():
        raise ScheduleError(f"offsets should rise from 0 to {size}, found {offsets[0]} to {offsets[-1]}")


def _round(nodes: int, arrays: dict[str, NDArray[Any]]) -> MixingMatrix:
    target, source, denominator = arrays["target"], arrays["source"], arrays.get("denominator")
    if denominator is None or ("weight" in arrays and denominator.size and not denominator.any()):
        return MixingMatrix.from_entries(nodes, target, source, arrays["weight"])
    numerator = arrays["numerator"]
    bad = np.flatnonzero(denominator <= 0)
    if bad.size:
        raise ScheduleError(f"denominator[{bad[0]}] is {denominator[bad[0]]}; expected at least 1")
    common = np.gcd(numerator, denominator)
    numerator, denominator = numerator // common, denominator // common
    weight = [p / q for p, q in zip(numerator.tolist(), denominator.tolist(), strict=True)]
    return MixingMatrix.from_entries(nodes, target, source, weight, numerator=numerator, denominator=denominator)
