"""The training experiments in small, going on from a results file, and what the full results are to show."""

import json
from math import inf

import pytest
import reproduce_training
import training_heterogeneity
import training_one_peer
import training_search
import training_teleportation
from results_page import PAGE
from training_runs import RESULTS, Results, Spread, perform_all

EXPERIMENTS = (training_heterogeneity, training_teleportation, training_one_peer, training_search)


def small_runs():
    return {
        "a": training_heterogeneity.plan([0], training_heterogeneity.SMALL),
        "b": training_teleportation.plan([0], training_teleportation.SMALL)[::3],
        "c": training_one_peer.plan([0], training_one_peer.SMALL),
        "d": training_search.plan([0], training_search.SMALL),
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """All experiments in small on the digits, a quarter of the second one's step sizes."""
    results = Results(tmp_path_factory.mktemp("results") / "results.jsonl")
    for runs in small_runs().values():
        assert perform_all(runs, results, None, 1, lambda line: None) == []
    return results


def test_tables_and_pictures_of_small_runs(small):
    planned = small_runs()
    tables = reproduce_training.tables(small, planned)
    page = PAGE.read_text()
    for name in tables:
        assert f"<!-- {name} -->\n" in page
        assert f"<!-- /{name} -->" in page
    assert tables["heterogeneity"].count("\n") == 1 + len(training_heterogeneity.METHODS)
    assert tables["one-peer"].count("\n") == 1 + 2 * len(training_one_peer.TOPOLOGIES)
    assert tables["search"].count("| seed 0 |") == 1
    assert set(reproduce_training.figures(small, planned)) == {
        "training-heterogeneity.png",
        "training-teleportation.png",
        "training-one-peer.png",
        "training-search.png",
    }


def test_the_common_start_is_trained(small):
    for result in small.of(small_runs()["a"]):
        assert result.columns["accuracy"][0] == small.of(small_runs()["a"])[0].columns["accuracy"][0]
    assert small.of(small_runs()["c"])[0].columns["accuracy"][0] != result.columns["accuracy"][0]


def test_what_has_been_run_is_not_run_again(small, tmp_path):
    runs = small_runs()["c"][:3]
    path = tmp_path / "results.jsonl"
    lines = small.path.read_text().splitlines(keepends=True)
    [kept] = [line for line in lines if json.loads(line)["run"] == json.loads(runs[0].key)]
    path.write_text(kept + lines[-1][:100])  # an interruption cut the last line short
    results, told = Results(path), []
    assert len(results.found) == 1
    perform_all(runs, results, None, 1, told.append)
    assert len(told) == 2
    again = Results(path)
    assert [r.columns for r in again.of(runs)] == [r.columns for r in small.of(runs)]
    perform_all(runs, again, None, 1, lambda line: pytest.fail("was run already"))


def test_a_run_that_cannot_be_is_told_and_the_others_are_done(small, tmp_path):
    good, bad = training_one_peer.plan([0, 1], training_one_peer.SMALL)[:2]
    bad = type(bad)(**{**bad.__dict__, "topology": "hypercube", "nodes": 6})
    results = Results(tmp_path / "results.jsonl")
    [failed] = perform_all([bad, good], results, None, 1, lambda line: None)
    assert "6" in failed
    assert list(results.found) == [good.key]


def test_mnist_is_given_by_path(tmp_path, capsys):
    assert reproduce_training.main(["--mnist", ""]) == 1
    assert "MNIST is missing; give the folder" in capsys.readouterr().err
    assert reproduce_training.main(["--mnist", str(tmp_path / "nowhere")]) == 1
    assert "nowhere is not a folder" in capsys.readouterr().err


def test_tables_of_a_results_file_of_ones_own(small, capsys):
    page = PAGE.read_text()
    assert reproduce_training.main(["--draw", "--results", str(small.path)]) == 0
    assert "\nseconds\n" in capsys.readouterr().out
    assert PAGE.read_text() == page


def test_spread_by_hand():
    assert Spread([1.0, 2.0, 3.0]).text(2) == "2.00 ± 1.00"
    assert Spread([4.0]).text(1) == "4.0"


def test_the_search_by_hand():
    losses = training_search.Losses({1: 3.0, 2: 1.0, 4: 2.0}, {1: 3.0, 2: 1.5, 3: 1.0, 4: 2.0})
    assert (losses.found, losses.best, losses.factor) == (2, 3, 1.5)


def test_first_step_and_cell_by_hand(small):
    runs = [run for run in small_runs()["b"] if run.method == small_runs()["b"][0].method and run.nodes == 8]
    never = training_teleportation.cell(small, runs, target=2.0)
    at_once = training_teleportation.cell(small, runs, target=0.0)
    assert never.missed == len(never.steps.values)
    assert (at_once.missed, at_once.steps.mean) == (0, 0)
    assert small.of(runs)[0].first_step("accuracy", lambda value: value > 2) == inf


# What the results in the documentation are to show


@pytest.fixture(scope="module")
def full():
    if not RESULTS.exists():
        pytest.skip("nothing has been run: make reproduce-training MNIST=FOLDER")
    return Results(RESULTS)


@pytest.fixture(scope="module")
def planned():
    return reproduce_training.plans("abcd", range(3))


@pytest.mark.slow
def test_the_documentation_holds_the_results(full, planned):
    page = PAGE.read_text()
    for name, content in reproduce_training.tables(full, planned).items():
        assert content in page, f"the table {name} is not that of the results file: reproduce_training.py --draw"


@pytest.mark.slow
def test_the_published_order_is_found_again(full, planned):
    lines = training_heterogeneity.lines(full, reproduce_training.heterogeneous(planned, training_heterogeneity.FULL))
    assert len(lines) == len(training_heterogeneity.METHODS)
    assert min(len(line.accuracy.values) for line in lines) >= 3
    assert training_heterogeneity.correlation(lines) >= 0.8


@pytest.mark.slow
def test_teleportation_is_flat_in_n_where_d_sgd_on_a_ring_degrades(full, planned):
    cells = training_teleportation.cells(full, planned["b"])
    sizes = training_teleportation.FULL.sizes
    assert len(cells) == len(training_teleportation.METHODS) * len(sizes)
    assert min(len(cell.steps.values) for cell in cells.values()) >= 3
    for method in training_teleportation.METHODS:
        if method.active:
            assert not any(cells[method.name, n].missed for n in sizes)
            assert max(cells[method.name, n].steps.mean for n in sizes) <= 1.5 * cells[method.name, 8].steps.mean
    ring = {n: cells["ring, D-SGD", n] for n in sizes}
    assert ring[8].missed == 0
    assert all(ring[n].missed == len(ring[n].steps.values) for n in (64, 128, 256))
    assert ring[256].nodes.mean < ring[8].nodes.mean - 5
    for n in (64, 128, 256):
        assert cells["TELEPORTATION, 8 on a ring", n].nodes.mean > ring[n].nodes.mean + 5


@pytest.mark.slow
def test_one_peer_is_as_good_as_static_exponential_for_a_fifth_of_its_bytes(full, planned):
    for partition in training_one_peer.FULL.partitions:
        accuracy, sent = {}, {}
        for topology in training_one_peer.TOPOLOGIES:
            done = full.of(r for r in planned["c"] if (r.partition, r.method) == (partition, topology))
            assert len(done) >= 3
            accuracy[topology] = Spread([100 * r.last("accuracy") for r in done]).mean
            sent[topology] = done[0].last("bytes_sent_per_node")
        assert sent["exponential"] == pytest.approx(5 * sent["one-peer-exponential"])
        assert sent["ring"] == pytest.approx(2 * sent["one-peer-exponential"])
        assert accuracy["one-peer-exponential"] > accuracy["exponential"] - 1.5
        assert accuracy["one-peer-exponential"] > accuracy["ring"] + (0 if partition == "iid" else 5)


@pytest.mark.slow
def test_the_search_finds_the_best_number_within_a_factor_of_two(full, planned):
    losses = training_search.losses(full, planned["d"])
    assert len(losses) >= 3
    assert training_search.mean_losses(list(losses.values())).factor <= 2
    assert all(one.factor <= 2 for one in losses.values())
