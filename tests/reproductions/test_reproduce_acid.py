"""A²CiD² against plain gossip in small, its arithmetic by hand, and what the full results are to show."""

import json
from dataclasses import replace
from math import sqrt

import pytest
import reproduce_acid
from acid_runs import ACID, FULL, METHODS, PLAIN, SMALL, TWICE, Claim, Line, claims, claims_table, lines, plan, settled
from reproduce_acid import RESULTS, seeds_of, tables
from results_page import PAGE
from training_runs import Result, Results, Spread, perform_all


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    results = Results(tmp_path_factory.mktemp("results") / "results.jsonl")
    assert perform_all(plan([0, 1], SMALL), results, None, 1, lambda line: None) == []
    return results


def test_tables_and_picture_of_small_runs(small):
    made = tables(small, [0, 1], SMALL)
    page = PAGE.read_text()
    for name in made:
        assert f"<!-- {name} -->\n" in page
        assert f"<!-- /{name} -->" in page
    assert made["acid"].count("\n") == 1 + 2 * sum(map(len, METHODS.values()))
    assert made["acid-claims"].count("\n") == 1 + 2 * len(METHODS)
    assert set(reproduce_acid.figures(small, [0, 1], SMALL)) == {"acid-ring.png"}


def test_rates_are_what_was_asked_for(small):
    for line in lines(small, plan([0, 1], replace(SMALL, steps=12))):
        wanted = 2 if line.method == TWICE.name else 1
        assert line.averagings.mean == pytest.approx(wanted, rel=0.5)  # some hundred events


def spread_line(method, consensus, models):
    return Line("ring", 16, "iid", 0.9, method, Spread(consensus), Spread([90.0]), Spread(models), Spread([1.0]))


def test_claims_by_hand():
    found = [
        spread_line(PLAIN.name, [4.0, 4.0], [80.0, 82.0]),
        spread_line(ACID.name, [2.2, 2.2], [90.0, 92.0]),
        spread_line(TWICE.name, [2.0, 2.0], [90.5, 92.7]),
    ]
    assert claims(found) == [Claim("ring", 16, "iid", 0.9, 1.1, pytest.approx(0.6), pytest.approx(0.1))]
    (claim,) = claims(found)
    assert claim.consensus_met
    assert not claim.accuracy_met
    assert "**not met**" in claims_table([claim])
    assert claims(found[:2]) == []


def test_settled_takes_the_second_half():
    columns = {"consensus_distance": [100.0, 100.0, 3.0, 4.0]}
    assert settled(Result({}, columns, {}, [], 0.0, "")) == sqrt(12.5)


def test_without_mnist(tmp_path, capsys):
    assert reproduce_acid.main(["--mnist", str(tmp_path / "nowhere")]) == 1
    assert "make reproduce-acid MNIST=FOLDER" in capsys.readouterr().err


def test_the_page_holds_what_has_been_run():
    results = Results(RESULTS)
    seeds = seeds_of(results)
    page = PAGE.read_text()
    assert len(seeds) >= 3
    for name, content in tables(results, seeds).items():
        assert f"<!-- {name} -->\n{content}\n<!-- /{name} -->" in page
    wanted = {run.key for run in plan(seeds, FULL)}
    assert wanted == {json.dumps(result.run, sort_keys=True) for result in results.found.values()}
