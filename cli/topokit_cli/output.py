"""The one place that prints: results go to standard output, everything said about them to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

__all__ = ["Output", "out"]


class Output:
    """The sink of all commands.

    Attributes
    ----------
    quiet : bool
        Whether notes are dropped. Results and errors are always printed.
    """

    def __init__(self) -> None:
        self.quiet = False

    def text(self, text: str = "") -> None:
        """Print lines of a result, for people."""
        self.data(f"{text}\n")

    def data(self, text: str) -> None:
        """Write a result to standard output as it is."""
        _write(sys.stdout, text)

    def binary(self, data: bytes) -> None:
        """Write a result that is no text to standard output."""
        sys.stdout.flush()
        sys.stdout.buffer.write(data)

    def json(self, value: Any, *, indent: int | None = None) -> None:
        """Print a result as JSON, for machines: never coloured, never wrapped; one line unless indented."""
        self.text(json.dumps(value, indent=indent, allow_nan=False))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, as_note: bool = False) -> None:
        """Print aligned columns; numbers to the right, words to the left, None as ``-``.

        Lines are as long as they need to be: a table that is piped or saved keeps its columns whatever the terminal.
        """
        say = self.note if as_note else self.text
        for line in format_table(columns, rows):
            say(line)

    def note(self, text: str) -> None:
        """Say something about what is done, on standard error."""
        if not self.quiet:
            _write(sys.stderr, f"{text}\n")

    def error(self, text: str) -> None:
        """Say why the command failed, on standard error, whether quiet or not; further lines are indented."""
        _write(sys.stderr, "error: " + text.replace("\n", "\n  ") + "\n")


out = Output()


def format_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lay out a table as plain lines.

    Examples
    --------
    >>> format_table(["name", "gap"], [["ring", 0.05], ["complete", 1.0]])
    ['name       gap', 'ring      0.05', 'complete     1']
    """
    body = [list(row) for row in rows]
    cells = [list(columns), *([show(value) for value in row] for row in body)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    right = [all(_is_numeric(row[i]) for row in body) for i in range(len(columns))]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]


def _is_numeric(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def show(value: object) -> str:
    """Write one value for people: four significant digits, yes and no, ``-`` for what there is not.

    Examples
    --------
    >>> show(0.20907), show(True), show(None), show(1234567), show(0.0)
    ('0.2091', 'yes', '-', '1234567', '0')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # a terminal that knows ASCII alone, and a file name that does not
        stream.write(text.encode(stream.encoding or "ascii", "backslashreplace").decode(stream.encoding or "ascii"))
