"""Reading and writing schedule files.

Reading is strict, because a mixing matrix that is a little wrong trains a little wrong, and nothing else would tell:
every fault is one sentence that names the file, the place, what was found and what was expected.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from topokit.errors import InputError, ScheduleError
from topokit.files import read_bytes, write_bytes
from topokit.matrix import INT64_MAX, MixingMatrix
from topokit.schedule import binary
from topokit.schedule.claims import Claims
from topokit.schedule.formats import CyclicFile, CyclicHeader, RoundFile, parse, shown
from topokit.schedule.model import Place, Schedule

__all__ = ["dumps", "load", "loads", "save"]

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"


def save(schedule: Schedule, path: Path) -> None:
    """Write a schedule; `Schedule.save` tells how."""
    if path.name.endswith(".json"):
        data = dumps(schedule).encode("utf-8")
    elif path.name.endswith(".json.gz"):
        # Without a time stamp, so that the same schedule gives the same file.
        data = gzip.compress(dumps(schedule).encode("utf-8"), mtime=0)
    elif path.name.endswith(".npz"):
        data = binary.encode(schedule)
    else:
        raise InputError(f"cannot write a schedule to {path}: its name must end in .json, .json.gz or .npz")
    write_bytes(path, data)


def dumps(schedule: Schedule) -> str:
    """Give the text of the schedule file: sorted keys, one a line, arrays on one line."""
    return _readable({**schedule.content(), "hash": schedule.content_hash}, "") + "\n"


def _readable(value: Any, indent: str) -> str:
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        items = [f"{json.dumps(key)}: {_readable(value[key], deeper)}" for key in sorted(value)]
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        items = [_readable(item, deeper) for item in value]
    else:
        return json.dumps(value, allow_nan=False)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{deeper}" + f",\n{deeper}".join(items) + f"\n{indent}{closing}"


def load(path: Path) -> Schedule:
    """Read a schedule file; `Schedule.load` tells what is checked."""
    data = read_bytes(path)
    origin = str(path)
    if data.startswith(ZIP_MAGIC):
        with _naming(origin):
            header, rounds = binary.decode(data)
            return _schedule(header, rounds)
    if path.suffix == ".npz":
        raise ScheduleError(f"{origin}: not a .npz file (it does not start like a zip archive)")
    if data.startswith(GZIP_MAGIC):
        try:
            data = gzip.decompress(data)
        except EOFError:
            raise ScheduleError(f"{origin}: the compressed file is truncated") from None
        except (OSError, zlib.error) as error:
            raise ScheduleError(f"{origin}: not a readable gzip file: {error}") from None
    return loads(data, origin)


def loads(text: str | bytes, origin: str) -> Schedule:
    """Read a schedule from JSON text; `Schedule.loads` tells what is checked."""
    with _naming(origin):
        file: CyclicFile = parse(_document(text))
        rounds = []
        for t, entries in enumerate(file.rounds):
            with _naming(f"round {t}"):
                rounds.append(_matrix(file.nodes, entries))
        return _schedule(file, rounds)


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Put the place in front of the message of an error that leaves the block."""
    try:
        yield
    except InputError as error:
        raise ScheduleError(f"{place}: {error}") from None


def _schedule(header: CyclicHeader, rounds: list[MixingMatrix]) -> Schedule:
    placement = None
    if header.placement is not None:
        placement = [Place(**place.model_dump()) for place in header.placement]
    schedule = Schedule.cyclic(
        rounds,
        mixing=header.mixing,
        provenance=header.provenance,
        claims=Claims(**header.claims.model_dump()),
        placement=placement,
    )
    if header.hash is not None and header.hash != schedule.content_hash:
        raise ScheduleError(
            f"the content does not fit its hash: expected {header.hash[:19]}..., "
            f"found {schedule.content_hash[:19]}...; "
            'it was changed after it was written (if that is meant, remove the key "hash")'
        )
    return schedule


def _matrix(nodes: int, entries: RoundFile) -> MixingMatrix:
    lengths = len(entries.target), len(entries.source), len(entries.weight)
    if len(set(lengths)) != 1:
        raise ScheduleError(
            f"target, source and weight have {lengths[0]}, {lengths[1]} and {lengths[2]} entries; expected one length"
        )
    for name, ids in (("target", entries.target), ("source", entries.source)):
        if max(ids, default=0) >= nodes:  # here, because a number may be too large for the array
            k = next(k for k, node in enumerate(ids) if node >= nodes)
            raise ScheduleError(f"{name}[{k}] is node {ids[k]}, but nodes are numbered 0 to {nodes - 1}")
    # Few weights differ, so each is read once and looked up afterwards.
    values: dict[int | float | str, Fraction] = {
        w: _fraction(w) for w in set(entries.weight) if not isinstance(w, float)
    }
    for w, value in values.items():
        if max(abs(value.numerator), value.denominator) > INT64_MAX:
            raise ScheduleError(
                f"weight[{entries.weight.index(w)}] does not fit: numerator and denominator are limited to 64 bits"
            )
    if any(isinstance(w, float) for w in entries.weight):
        numbers = [w if isinstance(w, float) else float(values[w]) for w in entries.weight]
        return MixingMatrix.from_entries(nodes, entries.target, entries.source, numbers)
    fractions = [values[w] for w in entries.weight]
    return MixingMatrix.from_entries(
        nodes,
        entries.target,
        entries.source,
        [float(f) for f in fractions],
        numerator=[f.numerator for f in fractions],
        denominator=[f.denominator for f in fractions],
    )


def _fraction(weight: int | str) -> Fraction:
    numerator, _, denominator = str(weight).partition("/")
    return Fraction(int(numerator), int(denominator or "1"))


def _document(text: str | bytes) -> Any:
    """Parse JSON, refusing what the standard library lets pass: repeated keys, NaN, infinity."""
    repeated: list[tuple[dict[str, Any], str]] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(items)
        if len(value) != len(items):
            keys = [key for key, _ in items]
            repeated.append((value, next(key for key in keys if keys.count(key) > 1)))
        return value

    def constant(token: str) -> Any:
        raise ScheduleError(f"{token} is not a number that JSON allows; expected finite numbers")

    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        if not text.strip():
            raise ScheduleError("the file is empty; expected a mixing schedule")
        document = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except UnicodeDecodeError as error:
        raise ScheduleError(f"not a text file: byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
            raise ScheduleError(
                f"the file is truncated: the JSON text ends in line {error.lineno} before it is complete"
            ) from None
        raise ScheduleError(f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ScheduleError("the JSON text is nested too deeply") from None
    except ValueError as error:
        if isinstance(error, ScheduleError):
            raise
        raise ScheduleError(f"not JSON that can be read: {error}") from None
    for place, key in repeated:
        path = ascii(next(_paths_to(place, document, ""), ""))[1:-1]
        raise ScheduleError(f"{path}the key {shown(key)} is given twice; expected once")
    return document


def _paths_to(place: dict[str, Any], value: Any, path: str) -> Iterator[str]:
    if value is place:
        yield f"{path}: " if path else ""
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, (dict, list)):
                yield from _paths_to(place, item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        for k, item in enumerate(value):
            yield from _paths_to(place, item, f"{path[:-1]} {k}" if path == "rounds" else f"{path}[{k}]")
