"""`topokit.pictures.rounds`: every message is drawn, the right way round, at places that show the structure."""

import networkx as nx
import numpy as np
import pytest
from matplotlib.collections import EllipseCollection, LineCollection, PolyCollection
from matplotlib.colors import to_hex

from topokit.designer import design, design_graph, design_matrix
from topokit.errors import InputError
from topokit.pictures import plot_graph
from topokit.pictures.edges import edges_of
from topokit.pictures.layouts import LAYOUTS, lay_out
from topokit.pictures.style import FAINT
from topokit.schedule import Place, Schedule


def drawn(axes):
    """Give the polylines of edges, the arrow heads (tip first), and the nodes of a panel."""
    lines = [
        path.vertices
        for collection in axes.collections
        if isinstance(collection, LineCollection) and to_hex(collection.get_color()[0]) != FAINT.lower()
        for path in collection.get_paths()
    ]
    heads = [path.vertices for c in axes.collections if isinstance(c, PolyCollection) for path in c.get_paths()]
    (nodes,) = (c for c in axes.collections if isinstance(c, EllipseCollection))
    return lines, heads, nodes


def test_graphs_show_every_round_and_every_message():
    figure = plot_graph({name: design(name, 8) for name in ("one-peer-exponential", "ring")})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["one-peer-exponential", "", "", "ring"]
    assert [axes.get_xlabel() for axes in figure.axes[:3]] == ["round 0", "round 1", "round 2"]
    parts = [drawn(axes) for axes in figure.axes]
    assert [len(heads) for _, heads, _ in parts] == [8, 8, 0, 0]
    assert [len(lines) for lines, _, _ in parts] == [8, 8, 4, 8]  # opposite nodes exchange; so do all on a ring
    assert [text.get_text() for text in figure.axes[0].texts] == [str(i) for i in range(8)]


@pytest.mark.parametrize("name", ["exponential", "one-peer-exponential", "de-bruijn", "epidemic"])
def test_arrows_point_from_the_sender_to_the_receiver(name):
    schedule = design(name, 64)
    figure = plot_graph(schedule)
    for t, axes in enumerate(figure.axes):
        edges = edges_of(schedule.round(t))
        _, heads, nodes = drawn(axes)
        at = nodes.get_offsets()
        assert len(heads) == len(edges.oneway)
        for (source, target), (tip, *base) in zip(edges.oneway, (head[:3] for head in heads), strict=True):
            assert np.linalg.norm(tip - at[target]) < np.linalg.norm(np.mean(base, axis=0) - at[target])
            assert np.linalg.norm(tip - at[target]) < np.linalg.norm(tip - at[source])
        # Heads that could be seen: three points long or more.
        lengths = [np.linalg.norm(head[0] - (head[1] + head[2]) / 2) for head in heads]
        if lengths:
            panel = axes.get_window_extent().width / figure.dpi * 72
            assert min(lengths) * panel / np.diff(axes.get_xlim())[0] > 3


def test_edges_are_those_of_the_matrix():
    rng = np.random.default_rng(0)
    n = 9
    W = sum(rng.uniform() * np.eye(n)[rng.permutation(n)] for _ in range(5))
    W /= W[0].sum()
    edges = edges_of(design_matrix(W).rounds[0])
    off = (W != 0) & ~np.eye(n, dtype=bool)
    mutual = {(i, j) for i, j in np.argwhere(off & off.T) if i < j}
    oneway = {(j, i) for i, j in np.argwhere(off & ~off.T)}
    assert {tuple(pair) for pair in edges.mutual} == mutual
    assert {tuple(pair) for pair in edges.oneway} == oneway
    np.testing.assert_allclose(edges.oneway_weight, [W[t, s] for s, t in edges.oneway])
    np.testing.assert_allclose(edges.mutual_weight, [max(W[s, t], W[t, s]) for s, t in edges.mutual])


def test_places_are_the_same_in_all_rounds_and_nothing_is_left_out():
    figure = plot_graph(design("base-2", 25))
    assert [axes.get_xlabel() for axes in figure.axes] == [f"round {t}" for t in range(9)]
    places = [drawn(axes)[2].get_offsets() for axes in figure.axes]
    assert all((at == places[0]).all() for at in places)


def test_long_schedules_are_drawn_in_part_and_any_rounds_on_demand():
    schedule = design("inner-outer-exponential", 56, hosts=8)  # lcm(7, 3, 3) = 21 rounds
    assert len(plot_graph(schedule).axes) == 21
    long = Schedule.cyclic(schedule.rounds * 2)
    figure = plot_graph(long)
    assert [axes.get_xlabel() for axes in figure.axes] == [f"round {t} of 42" for t in range(24)]
    figure = plot_graph({"a": long, "b": design("random-matching", 6)}, rounds=range(40, 43))
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == [*(f"round {t} of 42" for t in range(40, 43)), *(f"round {t}" for t in range(40, 43))]
    for rounds, message in ((range(3, 3), "no round to draw"), (range(99), "99 rounds do not fit one figure")):
        with pytest.raises(InputError, match=message):
            plot_graph(long, rounds=rounds)


def test_too_many_edges_are_refused(monkeypatch):
    monkeypatch.setattr("topokit.pictures.rounds.MAX_EDGES", 27)
    assert plot_graph(design("complete", 7)).axes
    with pytest.raises(InputError, match="complete-8 has 28 edges in 1 round; graphs are drawn up to 27"):
        plot_graph(design("complete", 8))


@pytest.mark.parametrize(
    ("name", "nodes", "expected"),
    [
        ("ring", 64, "circle"),
        ("path", 9, "circle"),
        ("exponential", 64, "circle"),
        ("complete", 16, "circle"),
        ("null-cascade", 30, "circle"),
        ("base-3", 25, "circle"),
        ("ceca-2p", 10, "circle"),
        ("random-matching", 12, "circle"),
        ("half-random", 40, "circle"),
        ("torus", 64, "lattice"),
        ("grid", 12, "lattice"),
        ("hypercube", 64, "hypercube"),
        ("one-peer-hypercube", 16, "hypercube"),
        ("star", 64, "tree"),
        ("tree", 15, "tree"),
        ("tree-push-pull", 15, "tree"),
        ("two-level", 16, "hosts"),
        ("inner-outer-exponential", 12, "hosts"),
        ("random-regular", 64, "spring"),
        ("barbell", 16, "spring"),
        ("de-bruijn", 16, "spring"),
        ("matcha", 16, "spring"),
    ],
)
def test_layouts_show_how_topologies_are_made(name, nodes, expected):
    layout = lay_out(design(name, nodes))
    assert layout.name == expected
    assert layout.at.shape == (nodes, 2)
    assert np.abs(layout.at).max() == pytest.approx(1, abs=0.05)
    assert len(np.unique(layout.at.round(6), axis=0)) == nodes  # no two nodes at one place


@pytest.mark.parametrize("nodes", [8, 16, 32, 64, 128])
def test_hypercubes_have_parallel_edges_and_no_node_lies_on_a_line(nodes):
    at = lay_out(design("hypercube", nodes)).at
    for bit in range(nodes.bit_length() - 1):
        low = np.flatnonzero(~(np.arange(nodes) >> bit) & 1)
        step = at[low + (1 << bit)] - at[low]
        np.testing.assert_allclose(step, np.broadcast_to(step[0], step.shape), atol=1e-12)
        for i in low:
            others = np.delete(at, [i, i + (1 << bit)], axis=0)
            s = np.clip((others - at[i]) @ step[0] / (step[0] @ step[0]), 0, 1)
            assert np.linalg.norm(others - at[i] - s[:, None] * step[0], axis=1).min() > (
                0.03 if nodes < 100 else 0.005
            )


@pytest.mark.parametrize(("name", "wraps"), [("torus", 16), ("grid", 0)])
def test_lattices_have_neighbours_beside_each_other_and_stubs_at_the_sides(name, wraps):
    schedule = design(name, 64)
    layout = lay_out(schedule)
    assert (layout.sides, layout.turns) == ((8, 8), bool(wraps))
    pairs = edges_of(schedule.rounds[0]).mutual
    apart = np.linalg.norm(layout.at[pairs[:, 0]] - layout.at[pairs[:, 1]], axis=1)
    spacing = apart.min()
    assert np.isclose(apart, spacing).sum() == len(pairs) - wraps
    (axes,) = plot_graph(schedule).axes
    lines, _, _ = drawn(axes)
    lengths = np.array([np.linalg.norm(line[-1] - line[0]) for line in lines])
    assert len(lines) == len(pairs) + wraps
    assert (lengths < spacing * 0.99).sum() == 2 * wraps
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    points = np.concatenate(lines)
    assert ((points > [left, low]) & (points < [right, high])).all()


@pytest.mark.parametrize(("name", "nodes"), [("one-peer-exponential", 64), ("base-2", 25), ("exponential", 16)])
def test_chords_of_a_circle_do_not_run_through_other_nodes(name, nodes):
    schedule = design(name, nodes)
    for t, axes in enumerate(plot_graph(schedule).axes):
        lines, _, discs = drawn(axes)
        at, radius = discs.get_offsets(), discs.get_widths()[0] / 2
        edges = edges_of(schedule.round(t))
        for (i, j), line in zip(np.concatenate((edges.mutual, edges.oneway)), lines, strict=True):
            s = np.linspace(0, 1, 60)[:, None, None]
            points = (line[None, :-1] * (1 - s) + line[None, 1:] * s).reshape(-1, 2)
            others = np.delete(at, [i, j], axis=0)
            assert np.linalg.norm(points[:, None] - others[None], axis=2).min() > radius


def test_a_star_has_its_hub_in_the_middle_and_hosts_keep_their_nodes_together():
    at = lay_out(design("star", 17)).at
    np.testing.assert_allclose(at[0], 0, atol=0.05)
    np.testing.assert_allclose(np.linalg.norm(at[1:], axis=1), 1, atol=0.05)
    plain = design("two-level", 12, hosts=3)
    placed = Schedule.cyclic(
        design("ring", 12).rounds, placement=[Place(node=i, host=f"host-{i % 3}") for i in range(12)]
    )
    for schedule, host_of in ((plain, np.arange(12) // 4), (placed, np.arange(12) % 3)):
        layout = lay_out(schedule)
        assert sorted(tuple(nodes) for nodes in layout.hosts) == [
            tuple(np.flatnonzero(host_of == host)) for host in range(3)
        ]
        centres = np.array([layout.at[host_of == host].mean(axis=0) for host in range(3)])
        nearest = np.linalg.norm(layout.at[:, None] - centres[None], axis=2).argmin(axis=1)
        assert (nearest == host_of).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_can_be_asked_for_and_is_always_the_same(layout):
    graph = nx.connected_watts_strogatz_graph(20, 4, 0.3, seed=2)
    first, second = (lay_out(design_graph(graph), layout).at for _ in range(2))
    np.testing.assert_array_equal(first, second)
    with pytest.raises(InputError, match="there is no layout 'star'; expected one of auto, circle"):
        lay_out(design("ring", 4), "star")


def test_spectral_places_are_eigenvectors_of_the_laplacian():
    graph = nx.barbell_graph(5, 2)
    at = lay_out(design_graph(graph), "spectral").at
    L = nx.laplacian_matrix(graph).toarray()
    for x in (at - at.mean(axis=0)).T:
        value = x @ L @ x / (x @ x)
        np.testing.assert_allclose(L @ x, value * x, atol=1e-8)


def test_numbers_are_inside_the_nodes_where_there_is_room_and_around_them_where_not():
    for nodes, expected in ((8, set(range(8))), (64, set(range(0, 64, 2)))):
        figure = plot_graph(design("ring", nodes))
        (axes,) = figure.axes
        assert {int(text.get_text()) for text in axes.texts} == expected
        figure.draw_without_rendering()
        _, _, discs = drawn(axes)
        across = discs.get_widths()[0] * axes.get_window_extent().width / np.diff(axes.get_xlim())[0]
        for text in axes.texts:
            assert text.get_fontsize() >= 5.5
            away = np.linalg.norm(discs.get_offsets()[int(text.get_text())] - text.get_position())
            if nodes == 8:
                assert away == 0
                assert text.get_window_extent().width <= across
            else:
                assert away > discs.get_widths()[0]


def test_titles_and_captions_are_never_cut():
    long = "a-schedule-with-a-name-that-somebody-found-by-concatenating-many-words_WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW"
    for named in (
        {long: design("one-peer-exponential", 8)},
        {long: design("ring", 5), "b": design("torus", 9), "c": design("star", 5)},
        {long: design("ring", 5)},
    ):
        figure = plot_graph(named)
        figure.draw_without_rendering()
        texts = [axes._left_title for axes in figure.axes] + [axes.xaxis.label for axes in figure.axes] + figure.texts
        for text in texts:
            box = text.get_window_extent()
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.x1
            assert box.y0 >= 0
            assert box.y1 <= figure.bbox.y1


def test_captions_say_what_occurs_and_only_that():
    def caption(*schedules):
        return " ".join(plot_graph({str(k): each for k, each in enumerate(schedules)}).texts[0].get_text().split())

    assert caption(design("ring", 6)) == "Lines are exchanges both ways."
    assert caption(design("d-equistatic", 6, seed=1)).startswith("Arrows go from sender to receiver")
    assert "wider means more weight" in caption(design("star", 6), design("grid", 6))
    assert "come back at the opposite one" in caption(design("torus", 9))
    assert "grey are edges that other rounds use" in caption(design("pairwise", 6))
    negative = design_matrix(np.array([[0.75, 0.5, -0.25], [0.5, 0.0, 0.5], [-0.25, 0.5, 0.75]]))
    assert "dashed means negative weight" in caption(negative)
    styles = [c.get_linestyle()[0] for c in plot_graph(negative).axes[0].collections if isinstance(c, LineCollection)]
    assert len({str(style) for style in styles}) == 2


def test_more_weight_is_wider():
    W = np.array([[0.2, 0.7, 0.1], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    (axes,) = plot_graph(design_matrix(W)).axes
    (lines,) = (c for c in axes.collections if isinstance(c, LineCollection))
    widths = lines.get_linewidths()
    assert widths[0] > 2 * widths[1]  # (0, 1) before (0, 2) and (1, 2)
    assert widths[1] == widths[2]
