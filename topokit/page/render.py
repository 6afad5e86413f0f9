"""The page as a whole: which parts there are, in which order."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from topokit import __version__
from topokit.errors import InputError
from topokit.files import write_text
from topokit.optimal.recheck import summary
from topokit.page.glossary import definition, definitions
from topokit.page.pictures import Picture, consensus_picture, round_pictures, spectrum_picture
from topokit.page.tables import details, fact_table, figures_list, identifier, mapping_table, table, text, value_text
from topokit.page.words import command_again, key_figures, verdict
from topokit.report import Report
from topokit.schedule import Schedule
from topokit.words import count

__all__ = ["PageEntry", "render_page", "save_page"]

MAX_ENTRIES = 12
OPEN_ROUNDS = 16  # up to which the table of rounds is unfolded
MAX_ROUNDS_LISTED = 500
COLUMNS = {"slem": "SLEM", "beta": "beta", "max_in_degree": "most peers in", "max_out_degree": "most peers out"}


@dataclass(frozen=True)
class PageEntry:
    """A schedule with its report, which `topokit.analyze` gives."""

    schedule: Schedule
    report: Report


def render_page(entries: Sequence[PageEntry], *, title: str | None = None) -> str:
    """Give one self-contained HTML page on one or several schedules.

    Parameters
    ----------
    entries : sequence of PageEntry
        Twelve at most; with several, an overview comes first.
    title : str, optional
        Title of the page; by default the name of the schedule, or their number.

    Returns
    -------
    str
        HTML with its style and pictures inside; the same entries give the same text.

    Raises
    ------
    InputError
        If there is no entry or too many, or matplotlib is missing.

    Examples
    --------
    >>> from topokit import analyze, design
    >>> schedule = design("hypercube", 8)
    >>> page = render_page([PageEntry(schedule, analyze(schedule))])
    >>> "<h1>hypercube-8</h1>" in page, "<script" in page
    (True, False)
    """
    if not entries:
        raise InputError("there is nothing to put on the page: no schedule was given")
    if len(entries) > MAX_ENTRIES:
        raise InputError(f"{len(entries)} schedules do not fit one page; give at most {MAX_ENTRIES}")
    names = _distinct([entry.report.name for entry in entries])
    alone = len(entries) == 1
    heading = title or (names[0] if alone else count(len(entries), "schedule"))
    parts = [] if alone else [_overview(dict(zip(names, entries, strict=True)))]
    for k, (name, entry) in enumerate(zip(names, entries, strict=True)):
        parts.append(_section(name, entry, f"schedule-{k}", headed=not alone or heading != name))
    labels = [label for entry in entries for label, _ in entry.report.lines()]
    folder = files("topokit.page")
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        title=text(heading),
        style=(folder / "page.css").read_text(encoding="utf-8").strip(),
        lead=f'<p class="lead">{text(verdict(entries[0].report))}</p>' if alone else "",
        parts="\n".join(parts),
        glossary=_glossary([*labels, "SLEM", "consensus distance"]),
        version=text(__version__),
    )


def save_page(path: str | Path, entries: Sequence[PageEntry], *, title: str | None = None) -> None:
    """Write the page of `render_page` to a file at once.

    Raises
    ------
    InputError
        As `render_page`, and if the file cannot be written.
    """
    write_text(path, render_page(entries, title=title))


def _distinct(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        while name in found:
            name += "'"
        found.append(name)
    return found


def _overview(entries: Mapping[str, PageEntry]) -> str:
    figures = {name: key_figures(entry.report) for name, entry in entries.items()}
    every = next(iter(figures.values()))
    columns = [column for column in every if any(each[column] is not None for each in figures.values())]
    rows = [
        [f'<a href="#schedule-{k}">{text(name)}</a>', *(text(value_text(each[column])) for column in columns)]
        for k, (name, each) in enumerate(figures.items())
    ]
    first = next(iter(entries.values()))
    picture = consensus_picture({name: entry.schedule for name, entry in entries.items()}, first.report.seed)
    return (
        '<section aria-labelledby="overview"><h2 id="overview">Side by side</h2>\n'
        f"{table(['schedule', *map(text, columns)], rows, 'Key figures of all schedules')}\n"
        f"{_shown(picture, 'wide')}</section>"
    )


def _section(name: str, entry: PageEntry, anchor: str, *, headed: bool) -> str:
    schedule, report = entry.schedule, entry.report
    level = "h3" if headed else "h2"
    head = f'<h2 id="{anchor}-name">{text(name)}</h2><p class="lead">{text(verdict(report))}</p>' if headed else ""
    pictures, sentence = round_pictures(schedule, name)
    rounds = "".join(picture.html("round" if len(pictures) > 1 else "wide") for picture in pictures)
    parts = [
        figures_list(key_figures(report)),
        f'<div class="together"><{level}>Who sends to whom</{level}><p>{text(sentence)}</p>'
        f'<div class="{"rounds" if len(pictures) > 1 else "pictures"}">{rounds}</div></div>',
        f'<div class="together"><{level}>How fast it averages</{level}><div class="pictures">'
        f"{_shown(consensus_picture({name: schedule}, report.seed), 'wide')}"
        f"{_shown(spectrum_picture(schedule, name), 'wide')}</div></div>",
        f"<{level}>Analysis</{level}>{_lines(report)}",
        _notes(report, level),
        _rounds(report),
        f"<{level}>The schedule</{level}>{_origin(schedule, report)}",
    ]
    attributes = f'id="{anchor}" aria-labelledby="{anchor}-name"' if headed else f'id="{anchor}"'
    return f"<section {attributes}>{head}\n" + "\n".join(parts) + "</section>"


def _shown(picture: Picture | str, kind: str) -> str:
    return picture.html(kind) if isinstance(picture, Picture) else f'<p class="absent">{text(picture)}</p>'


def _lines(report: Report) -> str:
    facts = []
    for label, words in report.lines():
        if label != "note":
            term = definition(label)
            linked = text(label) if term is None else f'<a href="#{identifier(term)}">{text(label)}</a>'
            facts.append((linked, text(words)))
    faults = [(f"not {text(what.replace('_', ' '))}", text(where)) for what, where in report.faults.items()]
    return fact_table([*facts, *faults], f"Analysis of {report.name}")


def _notes(report: Report, level: str) -> str:
    if not report.notes:
        return ""
    return f"<{level}>Notes</{level}><ul>{''.join(f'<li>{text(note)}</li>' for note in report.notes)}</ul>"


def _rounds(report: Report) -> str:
    rounds = report.to_dict()["rounds"]
    if len(rounds) < 2:
        return ""
    keys = [key for key in rounds[0] if any(each[key] is not None for each in rounds)]
    names = [COLUMNS.get(key, key.replace("_", " ")) for key in keys]
    shown = rounds[:MAX_ROUNDS_LISTED]
    rows = [[str(t), *(text(value_text(each[key])) for key in keys)] for t, each in enumerate(shown)]
    more = "" if len(shown) == len(rounds) else f"<p>The first {len(shown)} of {len(rounds)} rounds.</p>"
    content = table(["round", *map(text, names)], rows, f"Rounds of {report.name}") + more
    return details(f"The {count(len(rounds), 'round')} one by one", content, opened=len(rounds) <= OPEN_ROUNDS)


def _origin(schedule: Schedule, report: Report) -> str:
    claims, provenance = schedule.claims.to_dict(), summary(schedule.provenance)
    parts = [mapping_table(claims, "What it claims, checked")] if claims else []
    if schedule.unchecked:
        parts.append(f"<p>Not checked, because it would take too long: {text(', '.join(schedule.unchecked))}.</p>")
    if provenance:
        parts.append(mapping_table(provenance, "Where it comes from"))
    if report.hash is not None:
        parts.append(f'<p>Content hash: <code class="hash">{text(report.hash)}</code></p>')
    command = command_again(schedule)
    file = f"{schedule.name}.json"
    if command is not None:
        parts.append(
            "<p>To make it again, and this page of it:</p>"
            f"<pre><code>{text(command)}\n{text(_analyze_command(file, report.seed))}</code></pre>"
        )
    return "".join(parts)


def _analyze_command(file: str, seed: int) -> str:
    return shlex.join(["topokit", "analyze", file, *(["--seed", str(seed)] if seed else []), "--html", "report.html"])


def _glossary(labels: Sequence[str]) -> str:
    return "".join(
        f'<dt id="{identifier(term)}">{text(term)}</dt><dd>{text(meaning)}</dd>\n'
        for term, meaning in definitions(labels).items()
    )
