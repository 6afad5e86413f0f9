"""`topokit.page`: one HTML file that holds everything, says what the report says, and trusts no name."""

import json
import re
import shlex
from base64 import b64decode
from html.parser import HTMLParser
from itertools import pairwise

import networkx as nx
import pytest

from topokit import analyze
from topokit.designer import design, design_graph
from topokit.errors import InputError
from topokit.page import PageEntry, render_page, save_page
from topokit.page.words import command_again, key_figures, verdict
from topokit.report import Report
from topokit.schedule import Schedule
from topokit_cli.main import main

VOID = {"meta", "link", "img", "br"}


class Document(HTMLParser):
    """Elements with their attributes and texts; complains about what is not nested."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    def all(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def entry(name, nodes, **parameters):
    schedule = design(name, nodes, **parameters)
    return PageEntry(schedule, analyze(schedule))


@pytest.fixture(scope="module")
def pages():
    """Entries and pages of several kinds."""
    single = {
        name: [entry(name, nodes)]
        for name, nodes in [
            ("one-peer-exponential", 4),
            ("de-bruijn", 4),
            ("random-matching", 6),
            ("ceca-2p", 6),
            ("tree-push-pull", 7),
        ]
    }
    sets = {**single, "two": [entry("ring", 3), single["random-matching"][0]]}
    return {name: (entries, render_page(entries)) for name, entries in sets.items()}


@pytest.mark.parametrize(
    "name", ["one-peer-exponential", "de-bruijn", "random-matching", "ceca-2p", "tree-push-pull", "two"]
)
def test_the_page_is_whole_and_says_what_the_report_says(pages, name):
    entries, html = pages[name]
    page = Document(html)
    assert html.startswith("<!doctype html>")
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert not page.all("script")
    for reported in entries:
        for _, words in reported.report.lines():
            assert " ".join(words.split()) in page.text
        assert reported.report.hash in page.text
        assert verdict(reported.report) in page.text
        assert json.dumps(reported.report.name)[1:-1] in page.text
    # Nothing from elsewhere: every address is inside.
    for attributes in page.all("img", "a", "link"):
        address = attributes.get("src") or attributes["href"]
        assert address.startswith(("data:", "#"))
    assert not re.search(r"url\(|@import|https?:", re.sub(r"base64,[^\"]*", "", html))
    # Anchors lead somewhere, and nothing is named twice.
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    assert {attributes["href"][1:] for attributes in page.all("a")} <= set(names)
    # Accessible: pictures in words, headers of tables, headings without gaps.
    assert all(len(attributes["alt"]) > 20 for attributes in page.all("img"))
    assert all(attributes["scope"] in ("row", "col") for attributes in page.all("th"))
    assert len(page.all("table")) == len(page.all("caption"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for attributes in page.all("img"):
        kind, _, data = attributes["src"].partition(";base64,")
        assert b64decode(data).startswith({"data:image/svg+xml": b"<?xml", "data:image/png": b"\x89PNG"}[kind])


def test_pictures_are_those_that_exist(pages):
    counts = {name: len(Document(html).all("img")) for name, (_, html) in pages.items()}
    # The rounds, a consensus curve and a spectrum; four rounds and no spectrum where drawn; no spectrum of two copies.
    assert counts == {
        "one-peer-exponential": 2 + 2,
        "de-bruijn": 1 + 2,
        "random-matching": 4 + 1,
        "ceca-2p": 3 + 1,
        "tree-push-pull": 1,
        "two": 1 + (1 + 2) + (4 + 1),
    }
    for name, words in {
        "random-matching": "No spectrum: the schedule draws its rounds at random",
        "ceca-2p": "No spectrum: the schedule keeps two copies",
        "tree-push-pull": "No consensus curve: the schedule is a pair of push and pull parts",
    }.items():
        assert words in Document(pages[name][1]).text


def test_the_same_entries_give_the_same_page(pages, tmp_path):
    entries, html = pages["one-peer-exponential"]
    save_page(tmp_path / "page.html", entries)
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == html


def test_rounds_have_a_table(pages):
    entries, html = pages["one-peer-exponential"]
    (rounds,) = re.findall(r"<details open>.*?</details>", html, re.DOTALL)
    rows = re.findall(r'<tr><th scope="row">(\d+)</th>(.*?)</tr>', rounds)
    assert [row for row, _ in rows] == ["0", "1"]
    cells = [re.findall(r"<td>(.*?)</td>", cells) for _, cells in rows]
    first = entries[0].report.rounds[0]
    assert cells[0][:4] == [f"{first.slem:.4g}", f"{first.spectral_gap:.4g}", f"{first.beta:.4g}", "4"]


HOSTILE = "</title></style><script>alert(1)</script><img src=x onerror='alert(2)'>\"&amp;\x00\u202e$title" + "x" * 300


def test_names_and_notes_cannot_break_out():
    schedule = Schedule.cyclic(
        design("ring", 3).rounds,
        provenance={"topology": HOSTILE, "parameters": {HOSTILE: HOSTILE}, "labels": [HOSTILE]},
    )
    report = Report(**{**vars(analyze(schedule, HOSTILE)), "notes": (HOSTILE,), "faults": {HOSTILE: HOSTILE}})
    page = Document(render_page([PageEntry(schedule, report)], title=HOSTILE))
    assert not page.all("script")
    assert len(page.all("img")) == 3
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert page.text.count("</title></style><script>alert(1)</script><img src=x onerror='alert(2)'>\"&amp;") > 5
    assert "\x00" not in page.text
    assert page.all("meta")[2]["content"].startswith("default-src 'none'")


def test_lines_that_reports_learn_to_say_appear_by_themselves(pages):
    (known,), _ = pages["tree-push-pull"]

    class Longer(Report):
        def lines(self):
            return [*super().lines(), ("colour of the graph", "green")]

    page = Document(render_page([PageEntry(known.schedule, Longer(**vars(known.report)))]))
    assert "colour of the graph green" in page.text


@pytest.mark.parametrize(("name", "nodes"), [("complete", 80), ("base-2", 50)])
def test_pages_of_large_schedules_stay_small(name, nodes):
    large = entry(name, nodes)
    html = render_page([large])
    assert len(html) < 1_500_000
    assert len(Document(html).all("img")) == large.schedule.period + 2


def test_what_is_too_large_to_draw_is_said():
    schedule = design("ring", 2100)
    page = Document(render_page([PageEntry(schedule, analyze(schedule))]))
    assert not page.all("img")
    assert "No picture of the rounds: ring-2100 has 2100 nodes; graphs are drawn up to 2000." in page.text
    assert "spectra are drawn up to 2000" in page.text


def test_several_schedules_are_put_side_by_side(pages):
    page = Document(pages["two"][1])
    assert "2 schedules" in page.text
    assert [attributes["href"] for attributes in page.all("a")][:2] == ["#schedule-0", "#schedule-1"]
    same = Document(render_page(pages["tree-push-pull"][0] * 2))
    assert "tree-push-pull-7'" in same.text  # told apart


def test_nothing_and_too_much_are_refused(pages):
    entries, _ = pages["de-bruijn"]
    with pytest.raises(InputError, match="nothing to put on the page"):
        render_page([])
    with pytest.raises(InputError, match="13 schedules do not fit one page; give at most 12"):
        render_page(entries * 13)


def test_verdicts():
    exact, slow, drawn = (analyze(design(*pair)) for pair in (("base-2", 6), ("ring", 16), ("random-matching", 6)))
    assert verdict(exact).startswith("Exact: after 4 rounds every node holds the average, proved.")
    assert verdict(slow).startswith("Not exact: disagreement shrinks by the factor 0.9493 a round, 1000 times in 133")
    assert verdict(drawn).startswith("Rounds are drawn at random: the expected squared disagreement shrinks at least")
    tree = analyze(design("tree-push-pull", 7))
    assert verdict(tree).startswith(f"For push-pull methods: {tree.push_pull.sentence()}")
    sums = analyze(design_graph(nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)]), "push-sum"))
    assert verdict(sums).startswith("Rates of plain averaging do not apply")
    assert key_figures(exact)["exact after"] == "4 rounds"
    assert key_figures(exact)["contraction per round"] == "0"
    assert key_figures(slow)["contraction per round"] == "0.9493"


@pytest.mark.parametrize(
    ("name", "nodes", "parameters"),
    [
        ("base-3", 25, {}),
        ("ring", 6, {"weights": "laplacian"}),
        ("circulant", 9, {"offsets": (1, 3)}),
        ("random-regular", 10, {"degree": 3, "seed": 4}),
        ("two-level", 12, {"hosts": 3, "outer": "ring"}),
        ("od-equidyn", 6, {"eta": "1/3", "seed": 2}),
        ("matcha", 8, {"graph": "ring", "budget": 0.75, "seed": 1}),
        ("teleportation", 8, {"active": (1, 2), "seed": 3}),
    ],
)
def test_the_command_makes_the_same_schedule_again(tmp_path, monkeypatch, name, nodes, parameters):
    monkeypatch.chdir(tmp_path)
    schedule = design(name, nodes, **parameters)
    words = shlex.split(command_again(schedule))
    assert words[:2] == ["topokit", "design"]
    assert main(words[1:]) == 0
    assert Schedule.load(words[-1]).content_hash == schedule.content_hash


def test_no_command_where_none_makes_the_schedule_again():
    own = Schedule.cyclic(design("ring", 5).rounds, provenance={"topology": "base-2", "parameters": {"peers": 1}})
    strange = {"topology": "ring", "parameters": {"no": []}, "seed": "x", "weights": 3}
    for schedule in (
        own,
        Schedule.cyclic(own.rounds),
        Schedule.cyclic(own.rounds, provenance=strange),
        design_graph(nx.cycle_graph(4)),
        design("matcha", 4, graph=nx.relabel_nodes(nx.path_graph(4), {0: 3, 3: 0})),
    ):
        assert command_again(schedule) is None
