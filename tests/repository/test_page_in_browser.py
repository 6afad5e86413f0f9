"""The page of `topokit.page` as a browser shows it: on a phone, a desk and paper, without network or complaint."""

import re

import pytest
from browser import browser, find_browser

from topokit import analyze
from topokit.designer import design
from topokit.page import PageEntry, save_page
from topokit.schedule import Schedule

PATH = find_browser()
pytestmark = pytest.mark.skipif(PATH is None, reason="needs Chromium")

SIZES = {"phone": (360, 740), "tablet": (768, 1024), "desk": (1280, 900)}
LONG = "a_name_without_any_place_to_break_it_" * 4

# Elements that reach beyond the window and are not inside a box that scrolls or cuts.
OVERFLOWING = """
Array.from(document.body.querySelectorAll("*")).filter(element => {
  if (!element.checkVisibility()) return false;
  const box = element.getBoundingClientRect();
  if (box.right <= document.documentElement.clientWidth + 0.5 && box.left >= -0.5) return false;
  for (let parent = element.parentElement; parent; parent = parent.parentElement)
    if (["auto", "scroll"].includes(getComputedStyle(parent).overflowX)) return false;
  return true;
}).map(element => element.outerHTML.slice(0, 200))
"""
# Relative luminance of text and paper, as WCAG has it.
CONTRAST = """
Array.from(document.querySelectorAll("h1, .lead, .kind, dt, dd, th, td, a, figcaption, caption, summary, code"))
.map(element => {
  const light = colour => {
    const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map(c => c / 255)
      .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let behind = element;
  while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
  const [a, b] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(light);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}).reduce((a, b) => Math.min(a, b))
"""


def entry(schedule, name=None):
    return PageEntry(schedule, analyze(schedule, name))


@pytest.fixture(scope="module")
def page():
    """A tab of a browser."""
    with browser(PATH) as opened:
        yield opened


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """Pages with rounds, without a spectrum, of several schedules, and with long names."""
    folder = tmp_path_factory.mktemp("pages")
    ring = design("ring", 5)
    pages = {
        "base-2-11": [entry(design("base-2", 11))],
        "random-matching-12": [entry(design("random-matching", 12))],
        "three": [entry(design(name, 8)) for name in ("ring", "one-peer-exponential", "de-bruijn")],
        "long": [entry(Schedule.cyclic(ring.rounds * 17, provenance={"topology": LONG}), LONG)],
    }
    for name, entries in pages.items():
        save_page(folder / f"{name}.html", entries)
    return {name: (folder / f"{name}.html").as_uri() for name in pages}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["base-2-11", "random-matching-12", "three", "long"])
def test_nothing_overflows_and_nothing_is_complained_about(page, addresses, name, size):
    width, height = SIZES[size]
    page.open(addresses[name], width, height)
    assert page.value("window.innerWidth") == width
    assert page.value("document.documentElement.scrollWidth") <= width
    assert page.value(OVERFLOWING) == []
    assert page.named("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []
    assert page.value("Array.from(document.images).every(image => image.complete && image.naturalWidth > 0)")
    # Letters can be read, and pictures are not squeezed.
    assert page.value("Math.min(...Array.from(document.images, image => image.clientWidth))") > 120
    sizes = 'Array.from(document.querySelectorAll("p, td, th, dd, dt"), e => parseFloat(getComputedStyle(e).fontSize))'
    assert page.value(f"Math.min(...{sizes})") >= 12
    asked = {event["request"]["url"].partition(":")[0] for event in page.named("Network.requestWillBeSent")}
    assert asked <= {"file", "data"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes_have_contrast_and_white_behind_pictures(page, addresses, scheme):
    page.open(addresses["three"], *SIZES["phone"], prefers_color_scheme=scheme)
    paper = page.value("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert page.value(CONTRAST) >= 4.5
    assert page.value("getComputedStyle(document.images[0]).backgroundColor") == "rgb(255, 255, 255)"


def test_tables_scroll_inside_their_box(page, addresses):
    page.open(addresses["three"], *SIZES["phone"])
    widths = page.value('Array.from(document.querySelectorAll(".scroll"), e => [e.scrollWidth, e.clientWidth])')
    assert any(inner > outer for inner, outer in widths)
    assert all(outer <= 360 for _, outer in widths)


@pytest.mark.parametrize(("name", "least", "most"), [("base-2-11", 2, 5), ("three", 4, 9), ("long", 3, 9)])
def test_paper_gets_everything_on_few_sheets(page, addresses, name, least, most):
    page.open(addresses[name], *SIZES["desk"], prefers_color_scheme="dark")
    printed = page.pdf(paperWidth=8.27, paperHeight=11.69)
    assert least <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= most
    page.send("Emulation.setEmulatedMedia", media="print")
    page.send("Emulation.setDeviceMetricsOverride", width=680, height=1000, deviceScaleFactor=1, mobile=False)
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.value(CONTRAST) >= 4.5
    assert page.value(OVERFLOWING) == []
    if name == "three":
        widths = page.value('Array.from(document.querySelectorAll(".scroll th a"), e => e.parentElement.clientWidth)')
        assert min(widths) > 80  # not a letter a line
    if name == "long":
        assert page.value('document.querySelectorAll("details:not([open])").length') == 1
    # What is folded on the screen is on paper.
    assert page.value('Array.from(document.querySelectorAll("details td"), e => e.clientHeight).every(h => h > 0)')
