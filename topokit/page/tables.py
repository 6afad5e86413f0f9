"""Pieces of HTML: text that is safe, tables, definition lists, and numbers as people read them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["details", "fact_table", "figures_list", "identifier", "mapping_table", "table", "text", "value_text"]

MAX_TEXT = 600  # characters of one value


def text(value: object) -> str:
    """Escape anything for use as text or in a quoted attribute.

    Examples
    --------
    >>> text("<b>&'")
    '&lt;b&gt;&amp;&#x27;'
    """
    # Control characters (and halves of pairs) are not allowed in HTML.
    shown = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in str(value))
    return escape(shown, quote=True)


def value_text(value: Any) -> str:
    """Write a value of a report for people: four digits, yes and no, a dash for nothing.

    Examples
    --------
    >>> [value_text(value) for value in (2 / 3, True, None, [1, 2], {"peers": 1})]
    ['0.6667', 'yes', '–', '[1, 2]', 'peers = 1']
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        shown = ", ".join(f"{key} = {value_text(each)}" for key, each in value.items()) or "none"
    else:
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= MAX_TEXT else shown[:MAX_TEXT] + " ..."


def identifier(term: str) -> str:
    """Give the anchor of a term."""
    return "term-" + "".join(c if c.isalnum() else "-" for c in term.lower())


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """Give a table whose first column names the rows; cells are HTML already. It scrolls in a box of its own."""
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>\n' for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(caption)}">'
        f"<table><caption>{text(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>{body}</tbody></table></div>"
    )


def fact_table(facts: Iterable[tuple[str, str]], caption: str) -> str:
    """Give a table of labels and texts, which wraps; both are HTML already."""
    body = "".join(f'<tr><th scope="row">{label}</th><td>{value}</td></tr>\n' for label, value in facts)
    return f'<table class="facts"><caption>{text(caption)}</caption>\n<tbody>{body}</tbody></table>'


def figures_list(figures: Mapping[str, str | None]) -> str:
    """Give key figures as cards; those that are None are left out."""
    shown = {label: value for label, value in figures.items() if value is not None}
    cards = "".join(f"<div><dt>{text(label)}</dt><dd>{text(value)}</dd></div>\n" for label, value in shown.items())
    return f'<dl class="cards">{cards}</dl>'


def details(summary: str, content: str, *, opened: bool) -> str:
    """Give a part that can be folded; on paper it is always unfolded."""
    return f"<details{' open' if opened else ''}><summary>{text(summary)}</summary>{content}</details>"


def mapping_table(values: Mapping[str, Any], caption: str) -> str:
    """Give a table of names and values that come from a file."""
    facts = ((text(str(key).replace("_", " ")), text(value_text(value))) for key, value in values.items())
    return fact_table(facts, caption)
