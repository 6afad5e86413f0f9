"""Tables for other programs: CSV with all digits, and LaTeX for a paper."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence

from topokit_cli.output import show

__all__ = ["to_csv", "to_latex"]

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
}


def to_csv(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    r"""Write rows as CSV, numbers with all their digits, nothing where there is no value.

    Examples
    --------
    >>> to_csv(["name", "gap"], [{"name": "ring", "gap": 0.1}, {"name": "star", "gap": None}])
    'name,gap\nring,0.1\nstar,\n'
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: row[column] for column in columns} for row in rows)
    return text.getvalue()


def to_latex(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    r"""Write a table for the package booktabs; headings are LaTeX already, cells are escaped.

    Examples
    --------
    >>> print(to_latex(["topology", "$h$"], [["de_bruijn", 1.5e7], ["ring", None]]), end="")
    \begin{tabular}{lr}
    \toprule
    topology & $h$ \\
    \midrule
    de\_bruijn & $1.5 \times 10^{7}$ \\
    ring & -- \\
    \bottomrule
    \end{tabular}
    """
    words = [any(isinstance(row[i], str | bool) for row in rows) for i in range(len(headings))]
    lines = [
        rf"\begin{{tabular}}{{{''.join('l' if word else 'r' for word in words)}}}",
        r"\toprule",
        " & ".join(headings) + r" \\",
        r"\midrule",
        *(" & ".join(map(_cell, row)) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "--"
    text = show(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return re.sub(r"^(.*)e([+-])0*(\d+)$", lambda m: rf"${m[1]} \times 10^{{{m[2].strip('+')}{m[3]}}}$", text)
    return "".join(SPECIAL.get(letter, letter) for letter in text)
