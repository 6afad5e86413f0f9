import json
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from scipy import sparse

from topokit.errors import GraphError
from topokit.graph_files import read_graph, relabel
from topokit.weights import given_weights, metropolis_hastings_weights


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        if isinstance(content, dict):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def edges(graph):
    return {(u, v): data.get("weight") for u, v, data in graph.edges(data=True)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0,1\n1,2\n", {(0, 1): None, (1, 2): None}),
        ("source,target\n0,1\n1,2\n", {(0, 1): None, (1, 2): None}),
        ("Source,Target,Weight\r\n0,1,0.5\r\n1,2,1/3\r\n", {(0, 1): 0.5, (1, 2): Fraction(1, 3)}),
        ("\ufeffid;Target;Source;Type;Weight\n7;1;0;Undirected;2\n", {(0, 1): 2.0}),
        ("# a comment\n\n 0\t 1\n", {(0, 1): None}),
        ('"0","1"\n"1","1",0.25\n', {(0, 1): None, (1, 1): 0.25}),
    ],
)
def test_csv(write, text, expected):
    graph = read_graph(write("g.csv", text))
    assert edges(graph) == expected
    assert not graph.is_directed()


def test_csv_direction(write):
    path = write("g.csv", "0,1\n1,0\n")
    assert edges(read_graph(path, directed=True)) == {(0, 1): None, (1, 0): None}
    graph = read_graph(write("h.csv", "Source,Target,Type\n0,1,Directed\n1,0,directed\n"))
    assert graph.is_directed()


def test_labels(write):
    numbers = read_graph(write("g.csv", "30,5\n5,100\n"))
    assert edges(numbers) == {(0, 1): None, (0, 2): None}
    assert dict(numbers.nodes(data="label")) == {0: 5, 1: 30, 2: 100}
    names = read_graph(write("h.csv", "z,a\na,m\n"))
    assert dict(names.nodes(data="label")) == {0: "z", 1: "a", 2: "m"}
    # "07" and "7" are two names, so these are no numbers.
    assert dict(read_graph(write("i.csv", "07,7\n7,9\n")).nodes(data="label")) == {0: "07", 1: "7", 2: "9"}


def test_relabel_keeps_everything_else():
    graph = nx.DiGraph([("b", "a", {"weight": 2})], name="x")
    graph.nodes["a"]["rack"] = 3
    result = relabel(graph)
    assert result.is_directed()
    assert list(result.edges(data=True)) == [(0, 1, {"weight": 2})]
    assert dict(result.nodes(data=True)) == {0: {"label": "b"}, 1: {"label": "a", "rack": 3}}
    assert list(relabel(nx.path_graph(3)).nodes(data=True)) == [(0, {}), (1, {}), (2, {})]


@pytest.mark.parametrize("directed", [False, True])
def test_what_networkx_and_scipy_write_is_read(tmp_path, directed):
    graph = nx.gnp_random_graph(12, 0.4, seed=4, directed=directed)
    for u, v in graph.edges:
        graph.edges[u, v]["weight"] = (u + 2 * v) / 8
    nx.write_graphml(graph, tmp_path / "g.graphml")
    for key in ("edges", "links"):
        (tmp_path / f"{key}.json").write_text(json.dumps(nx.node_link_data(graph, edges=key)))
    sparse.save_npz(tmp_path / "g.npz", nx.to_scipy_sparse_array(graph, format="csr"))
    for name in ("g.graphml", "edges.json", "links.json", "g.npz"):
        result = read_graph(tmp_path / name)
        assert result.is_directed() == directed, name
        assert nx.utils.graphs_equal(nx.create_empty_copy(result, with_data=False), nx.create_empty_copy(graph))
        assert edges(result) == edges(graph), name


def test_a_file_gives_weights(write):
    W = given_weights(read_graph(write("g.csv", "source,target,weight\n0,1,1/3\n1,2,1/3\n")))
    assert W.is_exact
    np.testing.assert_array_equal(W.to_dense(), metropolis_hastings_weights(nx.path_graph(3)).to_dense())


def test_an_adjacency_of_ones_has_no_weights(tmp_path):
    sparse.save_npz(tmp_path / "g.npz", sparse.csr_array(nx.to_numpy_array(nx.cycle_graph(5))))
    assert edges(read_graph(tmp_path / "g.npz")) == dict.fromkeys(nx.cycle_graph(5).edges)


def link(nodes, edges, **more):
    return {"nodes": [{"id": node} for node in nodes], "edges": edges, **more}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("g.txt", "0,1", "ends in .csv, .graphml, .json, .npz, not '.txt'"),
        ("graph", "0,1", "not 'nothing'"),
        ("g.csv", "", "there are no edges"),
        ("g.csv", "source,target\n", "there are no edges"),
        ("g.csv", "0,1\n1\n", "line 2: an edge needs source,target"),
        ("g.csv", "0,1,2,3\n", "line 1: 4 columns without a header"),
        ("g.csv", "0,1\n1,\n", "line 2: an edge needs"),
        ("g.csv", "0,1,abc\n", "line 1: the weight 'abc' is not a finite number"),
        ("g.csv", "0,1,nan\n", "line 1: the weight 'nan' is not a finite number"),
        ("g.csv", "0,1,1e999\n", "is not a finite number"),
        ("g.csv", "0,1,1/0\n", "line 1: the weight '1/0'"),
        ("g.csv", "0,1\n1,2\n0,1\n", "line 3: the edge 0 - 1 was given before, in line 1$"),
        ("g.csv", "0,1\n1,0\n", r"line 2: the edge 1 - 0 was given before, in line 1 \(an undirected edge goes both"),
        ("g.csv", "source,target,type\n0,1,Mutual\n", "line 2: the type of an edge is Directed or Undirected"),
        ("g.csv", "source,target,type\n0,1,Directed\n1,2,Undirected\n", "line 3: the edge is 'Undirected', but line 2"),
        ("g.csv", b"\xff\xfe\x00", "it is not UTF-8 text"),
        ("g.csv", '"0,1\n', "line 1: "),
        ("g.json", "{", "line 1, column 2: it is not JSON"),
        ("g.json", "[]", "an object with a list 'nodes'"),
        ("g.json", '{"nodes": [], "nodes": []}', "the key 'nodes' is given twice"),
        ("g.json", {"nodes": [{"id": 0}]}, "a list 'edges'"),
        ("g.json", link([0, 1], []), "there are no edges"),
        ("g.json", link([0, 1], [], links=[]), "both 'edges' and 'links'"),
        ("g.json", link([0, 1], [], directed="no"), "'directed' is true or false, not 'no'"),
        ("g.json", link([0, 0], []), r"nodes\[1\]: the node 0 is declared twice"),
        ("g.json", link([0, None], []), r"nodes\[1\]: 'id' is an integer or a text, not None"),
        ("g.json", {"nodes": [3], "edges": []}, r"nodes\[0\]: it needs a 'id'"),
        ("g.json", link([0, 1], [{"source": 0}]), r"edges\[0\]: it needs a 'target'"),
        ("g.json", link([0, 1], [{"source": 0, "target": 5}]), r"edges\[0\]: the edge 0 - 5 joins the node 5, which"),
        ("g.json", link([0, 1], [{"source": 0, "target": 1, "weight": True}]), r"edges\[0\]: the weight True"),
        ("g.json", link([0, 1], [{"source": 0, "target": 1}] * 2), r"edges\[1\]: .* given before, in edges\[0\]"),
        ("g.json", b"\xff", "it is not JSON"),
        ("g.graphml", "<graphml", "it is not well-formed XML"),
        ("g.graphml", "<svg></svg>", "not a GraphML graph that can be used"),
        ("g.npz", b"no zip", "not a sparse matrix written by scipy.sparse.save_npz"),
    ],
)
def test_malformed_files_are_refused_with_the_place(write, name, content, message):
    path = write(name, content)
    with pytest.raises(GraphError, match=message) as caught:
        read_graph(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_other_refusals(tmp_path, write):
    with pytest.raises(GraphError, match=r"missing.csv: there is no such file"):
        read_graph(tmp_path / "missing.csv")
    with pytest.raises(GraphError, match="leave the option out"):
        read_graph(tmp_path / "g.json", directed=True)
    with pytest.raises(GraphError, match="but what was asked for is not"):
        read_graph(write("g.csv", "source,target,type\n0,1,Undirected\n"), directed=True)
    np.savez(tmp_path / "dense.npz", a=np.eye(3))
    with pytest.raises(GraphError, match="save_npz"):
        read_graph(tmp_path / "dense.npz")
    for matrix, message in (
        (sparse.csr_array(np.ones((2, 3))), r"square, this one has shape \(2, 3\)"),
        (sparse.csr_array(np.full((2, 2), 1j)), "real numbers, this one complex128"),
        (sparse.csr_array(np.array([[0, np.nan], [np.nan, 0]])), "is not a finite number"),
        (sparse.csr_array((3, 3)), "no edges"),
    ):
        sparse.save_npz(tmp_path / "g.npz", matrix)
        with pytest.raises(GraphError, match=message):
            read_graph(tmp_path / "g.npz")
    doubled = nx.MultiGraph([(0, 1), (0, 1)])
    nx.write_graphml(doubled, tmp_path / "g.graphml")
    with pytest.raises(GraphError, match="the edge 0 - 1 was given before"):
        read_graph(tmp_path / "g.graphml")
