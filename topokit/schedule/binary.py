"""The binary twin of the schedule file: a ``.npz`` archive for schedules too large for text.

It holds the text file without the entries of its rounds as one JSON string, ``header``, and those entries one round
after the other:
``target``, ``source``; ``numerator`` and ``denominator`` where weights are exact; ``weight`` where they are not;
``offsets``, so that round t has the entries from ``offsets[t]`` to ``offsets[t + 1]``. Where exact and floating-point
rounds meet in one schedule, all are present, and a denominator of 0 marks the entries that have a weight only. Whole
numbers have 32 bits where that is enough, else 64.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from topokit.errors import ScheduleError
from topokit.kinds.base import shortened
from topokit.matrix import INT64_MAX, IntArray, MixingMatrix, quotients
from topokit.schedule.canonical import round_in_arrays
from topokit.schedule.formats import ScheduleFile
from topokit.schedule.parsing import parse
from topokit.schedule.strict_json import read_json

if TYPE_CHECKING:
    from topokit.schedule.model import Schedule

__all__ = ["Stored", "decode", "encode"]

Stored: TypeAlias = Callable[[int, int], MixingMatrix]
ENTRIES = ("target", "source", "weight")

INTEGERS = ("target", "source", "numerator", "denominator", "offsets")
EXACT = {"numerator", "denominator"}


def encode(schedule: Schedule) -> bytes:
    """Give the bytes of the archive; the same schedule gives the same bytes."""
    rounds: list[MixingMatrix] = []

    def apart(W: MixingMatrix) -> dict[str, Any]:
        rounds.append(W)
        content = round_in_arrays(W)
        return {key: value for key, value in content.items() if key not in ENTRIES}

    header = {**schedule.content(apart), "hash": schedule.content_hash}
    if not rounds:
        return _archive({"header": _text(header)})
    arrays: dict[str, NDArray[Any]] = {
        "header": _text(header),
        "target": np.concatenate([W.target for W in rounds]),
        "source": np.concatenate([W.source for W in rounds]),
        "offsets": np.concatenate([[0], np.cumsum([W.nonzeros for W in rounds])]).astype(np.int64),
    }
    exact = [_exact_parts(W) for W in rounds]
    if any(W.is_exact for W in rounds):
        arrays["numerator"] = np.concatenate([numerator for numerator, _ in exact])
        arrays["denominator"] = np.concatenate([denominator for _, denominator in exact])
    if not all(W.is_exact for W in rounds):
        arrays["weight"] = np.concatenate(
            [quotients(*parts) if W.is_exact else W.weight for W, parts in zip(rounds, exact, strict=True)]
        )
    return _archive({name: _narrowed(array) if name in INTEGERS else array for name, array in arrays.items()})


def _narrowed(values: NDArray[Any]) -> NDArray[Any]:
    """Give 32-bit integers where they hold all values: they compress twice as fast, and are as good to read."""
    fits = values.min(initial=0) >= -(2**31) and values.max(initial=0) < 2**31
    return values.astype(np.int32) if fits else values


def _exact_parts(W: MixingMatrix) -> tuple[IntArray, IntArray]:
    if W.numerator is None or W.denominator is None:
        return np.zeros(W.nonzeros, dtype=np.int64), np.zeros(W.nonzeros, dtype=np.int64)
    return W.numerator, W.denominator


def _text(header: dict[str, Any]) -> NDArray[Any]:
    return np.array(json.dumps(header, sort_keys=True, allow_nan=False))


def _archive(arrays: dict[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def decode(data: bytes) -> tuple[ScheduleFile, Stored]:
    """Read the bytes of an archive: the checked file model, and a function that gives its matrices.

    Returns
    -------
    file : ScheduleFile
        Its rounds have no entries.
    stored : callable
        ``stored(k, rows)`` gives the matrix of the k-th round of the file, with that many rows.

    Raises
    ------
    ScheduleError
        With the array, the round and the entry at fault.
    """
    arrays = _members(data)
    document = _header(arrays)
    rounds = _rounds_of(document)
    for t, entries in enumerate(rounds):
        if own := [name for name in ENTRIES if name in entries]:
            raise ScheduleError(f'round {t} of the header has the key "{own[0]}"; expected its entries in arrays only')
        entries.update({name: [] for name in ENTRIES})
    file = parse(document)
    if not rounds:
        if spare := sorted(set(arrays) - {"header"}):
            raise ScheduleError(f"the array {shortened(ascii(spare[0])[1:-1])} is not needed: there are no rounds")
        return file, _none_stored
    _check_arrays(arrays)
    offsets = arrays["offsets"].tolist()
    if len(offsets) != len(rounds) + 1:
        raise ScheduleError(f"the header has {len(rounds)} rounds and offsets {len(offsets) - 1}; expected the same")

    def stored(k: int, rows: int) -> MixingMatrix:
        window = slice(offsets[k], offsets[k + 1])
        return _round(rows, {name: array[window] for name, array in arrays.items() if name != "header"})

    return file, stored


def _members(data: bytes) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            names = archive.files
            arrays = {name: archive[name] for name in names}
    except Exception as error:  # any: zipfile, its decompressors and NumPy's reader fail in many ways on damaged bytes
        reason = shortened(" ".join(str(error).split())) or type(error).__name__
        raise ScheduleError(f"the .npz archive is damaged or truncated: {reason}") from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or names.count(name) > 1:
            fault = "twice in it" if names.count(name) > 1 else "no array"
            raise ScheduleError(f"the .npz archive is damaged: {shortened(ascii(name)[1:-1])} is {fault}")
    return arrays


def _none_stored(k: int, rows: int) -> MixingMatrix:
    raise ScheduleError(f"the archive has no matrix {k}")


def _header(arrays: dict[str, NDArray[Any]]) -> Any:
    if "header" not in arrays:
        found = shortened(", ".join(ascii(name)[1:-1] for name in arrays))
        raise ScheduleError(f"not a mixing schedule: the array header is missing; found {found or 'none'}")
    text = arrays["header"]
    if text.shape != () or text.dtype.kind != "U":
        raise ScheduleError("the array header should hold one string")
    try:
        return read_json(text.item())
    except (ValueError, SystemError) as error:  # ScheduleError; SystemError: not the numbers of characters
        raise ScheduleError(f"the array header is not JSON as needed: {error}") from None


def _rounds_of(document: Any) -> list[dict[str, Any]]:
    """Find the rounds of a file in their order; what is no round is left to the parser."""
    holders: list[Any] = [document]
    if isinstance(document, dict) and isinstance(document.get("teams"), list):
        holders += document["teams"]
    lists = [holder["rounds"] for holder in holders if isinstance(holder, dict) and "rounds" in holder]
    return [entries for rounds in lists if isinstance(rounds, list) for entries in rounds if isinstance(entries, dict)]


def _check_arrays(arrays: dict[str, NDArray[Any]]) -> None:
    names = set(arrays)
    known = {"header", "target", "source", "weight", "offsets"} | EXACT
    if names - known:
        unknown = shortened(ascii(min(names - known))[1:-1])
        raise ScheduleError(f"unknown array {unknown}; known: {', '.join(sorted(known))}")
    needed = {"target", "source", "offsets"} | (EXACT if names & EXACT else {"weight"})
    if needed - names:
        raise ScheduleError(f"the array {min(needed - names)} is missing")
    for name in sorted(names - {"header"}):
        array, kinds = arrays[name], "i" if name in INTEGERS else "f"
        if array.ndim != 1 or array.dtype.kind not in kinds or array.dtype.itemsize > 8:
            wanted = "signed whole numbers" if name in INTEGERS else "floating-point numbers"
            raise ScheduleError(f"{name} has shape {array.shape} and type {array.dtype}; expected a list of {wanted}")
        arrays[name] = array.astype(np.int64 if name in INTEGERS else np.float64)
    size, offsets = arrays["target"].size, arrays["offsets"]
    for name in sorted(names - {"header", "offsets"}):
        if arrays[name].size != size:
            raise ScheduleError(f"{name} has {arrays[name].size} entries and target {size}; expected one length")
    if offsets.size < 2 or offsets[0] != 0 or offsets[-1] != size or (offsets[1:] < offsets[:-1]).any():
        found = f"{offsets[0]} to {offsets[-1]}" if offsets.size else "nothing"
        raise ScheduleError(f"offsets should rise from 0 to {size}, found {found}")


def _round(rows: int, arrays: dict[str, NDArray[Any]]) -> MixingMatrix:
    target, source, denominator = arrays["target"], arrays["source"], arrays.get("denominator")
    if denominator is None:
        return MixingMatrix.from_entries(rows, target, source, arrays["weight"])
    numerator = arrays["numerator"]
    if "weight" in arrays and denominator.size and not denominator.any():
        bad = np.flatnonzero(numerator)
        if bad.size:
            raise ScheduleError(f"numerator[{bad[0]}] is {numerator[bad[0]]}, but its denominator is 0; expected 0")
        return MixingMatrix.from_entries(rows, target, source, arrays["weight"])
    bad = np.flatnonzero(numerator < -INT64_MAX)
    if bad.size:
        raise ScheduleError(f"numerator[{bad[0]}] is {numerator[bad[0]]}; expected at least {-INT64_MAX}")
    bad = np.flatnonzero(denominator <= 0)
    if bad.size:
        raise ScheduleError(f"denominator[{bad[0]}] is {denominator[bad[0]]}; expected at least 1")
    common = np.gcd(numerator, denominator)
    numerator, denominator = numerator // common, denominator // common
    weight = quotients(numerator, denominator)
    bad = np.flatnonzero(arrays["weight"] != weight) if "weight" in arrays else bad
    if bad.size:
        k = int(bad[0])
        raise ScheduleError(
            f"weight[{k}] is {float(arrays['weight'][k])!r}, but its fraction is {numerator[k]}/{denominator[k]}; "
            f"expected {float(weight[k])!r}"
        )
    return MixingMatrix.from_entries(rows, target, source, weight, numerator=numerator, denominator=denominator)
