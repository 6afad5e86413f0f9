"""`topokit.pictures`: the figures show the numbers they claim to show, and are written whole."""

import subprocess
import sys
from itertools import product

import networkx as nx
import numpy as np
import pytest
from matplotlib.text import Text

from topokit.designer import design, design_graph, design_matrix
from topokit.errors import InputError
from topokit.pictures import PLOTS, plot_consensus, plot_graph, plot_spectra
from topokit.pictures.style import COLOURS, check_suffix, line_styles, save_figure

MAGIC = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


def schedules(*names, nodes=8):
    return {name: design(name, nodes) for name in names}


def lines_of(figure, label):
    return [line for axes in figure.axes for line in axes.lines if line.get_label() == label]


@pytest.mark.parametrize(("what", "suffix"), list(product(PLOTS, MAGIC)))
def test_every_figure_is_written_in_every_format_and_twice_the_same(tmp_path, what, suffix):
    for name in ("a", "b"):
        save_figure(PLOTS[what](schedules("one-peer-exponential", nodes=4)), tmp_path / f"{name}{suffix}")
    first, second = (tmp_path / f"{name}{suffix}").read_bytes(), (tmp_path / f"b{suffix}").read_bytes()
    assert first.startswith(MAGIC[suffix])
    assert first == second
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]  # no temporary file stays


def test_consensus_curves_are_the_simulated_distances():
    ring = design("ring", 8)
    figure = plot_consensus({"ring": ring}, rounds=20, seed=5)
    [curve] = lines_of(figure, "ring")
    X = np.random.default_rng(5).standard_normal((8, 64))
    expected = []
    for _ in range(21):
        expected.append(np.linalg.norm(X - X.mean(axis=0)))
        X = ring.rounds[0].to_dense() @ X
    np.testing.assert_allclose(curve.get_ydata(), np.array(expected) / expected[0], rtol=1e-9)


def test_the_prediction_is_the_contraction_to_the_power_of_the_round():
    figure = plot_consensus(design("ring", 8), rounds=10)
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    beta = 1 / 3 + 2 / 3 * np.cos(2 * np.pi / 8)
    assert [line.get_ydata()[-1] for line in dashed] == [pytest.approx(beta**10)]


def test_exact_averaging_ends_in_a_ring_on_the_axis():
    figure = plot_consensus(schedules("one-peer-exponential"), rounds=10)
    rings = [line for line in figure.axes[0].lines if line.get_fillstyle() == "none"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in rings] == [(3, figure.axes[0].get_ylim()[0])]
    assert not [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert "exact" in [text.get_text() for text in figure.legends[0].get_texts()]


def stems(axes):
    """Give the values of a spectrum on the line as often as its stems are high, in ascending order."""
    dots = next(line for line in axes.lines if line.get_marker() == "o" and line.get_fillstyle() == "full")
    return np.sort(np.repeat(dots.get_xdata(), dots.get_ydata().astype(int)))


@pytest.mark.parametrize(("name", "nodes"), [("ring", 8), ("torus", 64), ("star", 64), ("hypercube", 64)])
def test_stems_are_eigenvalues_with_their_multiplicities(name, nodes):
    schedule = design(name, nodes)
    (axes,) = plot_spectra(schedule).axes
    expected = np.linalg.eigvalsh(schedule.rounds[0].to_dense())[:-1]
    np.testing.assert_allclose(stems(axes), expected, atol=1e-7)
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    radius = np.abs(expected).max()
    assert (band.x0, band.x1) == (pytest.approx(-radius), pytest.approx(radius))
    assert {line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 2} >= {-1, 1}  # both ends
    assert f"largest besides the 1: {radius:.4g}" in axes.get_xlabel()


def test_what_is_exact_has_all_its_eigenvalues_at_0():
    (axes,) = plot_spectra(design("base-2", 25)).axes
    assert stems(axes).tolist() == [pytest.approx(0, abs=1e-12)] * 24
    assert "24×" in [text.get_text() for text in axes.texts]
    assert axes.get_xlabel() == "eigenvalues of the 9-round period\nlargest besides the 1: 0"


def test_very_many_eigenvalues_are_counted_in_bins():
    schedule = design("random-regular", 256, seed=1)
    (axes,) = plot_spectra(schedule).axes
    values, edges, _ = axes.patches[-1].get_data()
    expected = np.linalg.eigvalsh(schedule.rounds[0].to_dense())[:-1]
    np.testing.assert_array_equal(values, np.histogram(expected, bins=edges)[0])
    assert values.sum() == 255


@pytest.mark.parametrize(("name", "nodes"), [("exponential", 8), ("exponential", 64), ("one-peer-exponential", 12)])
def test_points_in_the_disc_are_eigenvalues_of_the_period(name, nodes):
    schedule = design(name, nodes)
    (axes,) = plot_spectra(schedule).axes
    points = axes.collections[0]
    sizes = points.get_sizes()
    found = np.repeat(points.get_offsets() @ [1, 1j], np.round(sizes / sizes.min()).astype(int))
    product = np.linalg.multi_dot([np.eye(nodes), *(W.to_dense() for W in schedule.rounds[::-1])])
    expected = np.linalg.eigvals(product)
    expected = np.delete(expected, np.abs(expected - 1).argmin())
    assert found.size == nodes - 1
    # Each of one is near one of the other.
    assert np.abs(found[:, None] - expected[None, :]).min(axis=1).max() < 1e-7
    assert np.abs(found[:, None] - expected[None, :]).min(axis=0).max() < 1e-7
    radii = [patch.get_radius() for patch in axes.patches]
    assert radii == [1, pytest.approx(np.abs(expected).max()), pytest.approx(np.abs(expected).max())]


def test_singular_values_stand_in_where_the_matrix_is_not_normal():
    de_bruijn = np.zeros((4, 4))
    for i in range(4):
        de_bruijn[i, [2 * i % 4, (2 * i + 1) % 4]] = 0.5
    (axes,) = plot_spectra(design_matrix(de_bruijn)).axes
    assert "singular values of W, not normal" in axes.get_xlabel()
    np.testing.assert_allclose(stems(axes), np.linalg.svd(de_bruijn - 1 / 4)[1][:-1][::-1], atol=1e-7)


def test_a_dozen_curves_stay_apart_and_clear_of_the_legend():
    many = {f"ring-{k}": design("ring", 4 + k) for k in range(12)}
    for width in (7.2, 4.3):
        figure = plot_consensus(many, rounds=12, width=width)
        (axes,) = figure.axes
        curves = [line for line in axes.lines if line.get_label() in many]
        assert len({(line.get_color(), line.get_marker()) for line in curves}) == 12
        figure.draw_without_rendering()
        legend = figure.legends[0].get_window_extent()
        assert not legend.overlaps(axes.get_window_extent())
        assert figure.bbox.x0 <= legend.x0
        assert legend.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= legend.y0


def test_rings_of_the_same_round_lie_around_each_other():
    figure = plot_consensus(schedules("one-peer-exponential", "base", "one-peer-hypercube"), rounds=5)
    sizes = [line.get_markersize() for line in figure.axes[0].lines if line.get_fillstyle() == "none"]
    assert sizes == sorted(set(sizes))
    assert len(sizes) == 3


def test_what_is_exact_after_several_periods_ends_in_a_ring_too():
    figure = plot_consensus(schedules("de-bruijn", nodes=16), rounds=6)
    rings = [line for line in figure.axes[0].lines if line.get_fillstyle() == "none"]
    assert [line.get_xdata()[0] for line in rings] == [4]


def test_push_sum_is_drawn_as_the_ratio_that_its_nodes_hold():
    graph = nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2), (2, 3), (3, 0)])
    schedule = design_graph(graph, "push-sum")
    W = schedule.rounds[0].to_dense()
    assert not np.allclose(W.sum(axis=1), 1)
    (curve,) = lines_of(plot_consensus({"push-sum": schedule}, rounds=25, seed=3), "push-sum")
    X, w = np.random.default_rng(3).standard_normal((4, 64)), np.ones((4, 1))
    mean, expected = X.mean(axis=0), []
    for _ in range(26):
        expected.append(np.linalg.norm(X / w - mean))
        X, w = W @ X, W @ w
    np.testing.assert_allclose(curve.get_ydata(), np.array(expected) / expected[0], rtol=1e-6)
    assert expected[-1] < 1e-3 * expected[0]
    with pytest.raises(InputError, match="is column-stochastic: no rate of averaging can be read from its spectrum"):
        plot_spectra(schedule)


def test_push_pull_has_no_consensus_curve():
    with pytest.raises(InputError, match="push and pull parts: mixing alone does not average"):
        plot_consensus(design("tree-push-pull", 7))


def test_more_than_a_figure_can_hold_is_refused():
    many = {str(k): design("ring", 4) for k in range(13)}
    with pytest.raises(InputError, match="13 spectra do not fit one figure; draw at most 12"):
        plot_spectra(many)
    with pytest.raises(InputError, match="13 schedules do not fit"):
        plot_graph(many)
    for draw, what in ((plot_spectra, "spectra"), (plot_graph, "graphs")):
        with pytest.raises(InputError, match=f"2100 nodes; {what} are drawn up to 2000"):
            draw(design("ring", 2100))
    for draw in PLOTS.values():
        with pytest.raises(InputError, match="nothing to plot"):
            draw({})


@pytest.mark.parametrize("name", ["figure", "figure.bmp", "figure.json"])
def test_other_suffixes_are_refused(name):
    with pytest.raises(InputError, match=r"must end in \.png, \.svg or \.pdf"):
        check_suffix(name)


def test_names_in_any_letters_are_drawn_as_they_are(tmp_path):
    odd = {"$x_1$ & <b>": design("ring", 5), "\u7bc0\u70b9": design("star", 5)}
    for name, draw in PLOTS.items():
        figure = draw(odd)
        save_figure(figure, tmp_path / f"{name}.png")
        texts = [text.get_text() for axes in figure.axes for text in axes.findobj(Text)]
        texts += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        assert set(odd) <= set(texts)


def test_line_styles_differ_by_colour_and_mark():
    styles = line_styles(49)
    assert len({tuple(style.values()) for style in styles}) == 49
    styles = line_styles(7)
    assert len({style["color"] for style in styles}) == len({style["marker"] for style in styles}) == len(COLOURS) == 7


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'topokit\[plot\]'"):
        plot_graph(design("ring", 4))


def test_neither_importing_nor_drawing_touches_global_state():
    code = """
import sys, topokit.pictures
assert "matplotlib" not in sys.modules
import matplotlib
def settings():  # as they are stored: reading the backend the usual way would choose one
    return {key: dict.__getitem__(matplotlib.rcParams, key) for key in dict.__iter__(matplotlib.rcParams)}
before = settings()
from topokit.designer import design
topokit.pictures.plot_graph(design("ring", 4))
assert "matplotlib.pyplot" not in sys.modules
assert settings() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)}, timeout=60)


def test_random_rounds_are_drawn_with_their_expected_contraction():
    schedule = design("random-matching", 8)
    figure = plot_consensus({"matching": schedule}, rounds=12)
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[-1] for line in dashed] == [pytest.approx((1 / 2 - 1 / 14) ** 6)]
    assert any("expected where drawn" in text.get_text() for text in figure.legends[0].get_texts())
    assert len([axes for axes in plot_graph(schedule).axes if axes.get_visible()]) == 4
    with pytest.raises(InputError, match="draws its rounds at random: it has no one spectrum"):
        plot_spectra(schedule)


def test_two_copies_end_exact_and_are_drawn_node_by_node():
    schedule = design("ceca-2p", 6)
    figure = plot_consensus({"ceca": schedule}, rounds=6)
    rings = [line for line in figure.axes[0].lines if line.get_fillstyle() == "none"]
    assert [line.get_xdata()[0] for line in rings] == [3]
    numbers = {text.get_text() for text in plot_graph(schedule).axes[0].texts}
    assert numbers == {str(node) for node in range(6)}
    with pytest.raises(InputError, match="keeps two copies"):
        plot_spectra(schedule)
