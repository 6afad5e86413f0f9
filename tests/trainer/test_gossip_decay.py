"""How fast gossip alone makes real nodes agree, beside the exact rate of the same process with Poisson clocks."""

import networkx as nx
import numpy as np
import pytest
from gossip_workers import decay, rates_of
from ranks import run_ranks

ETA, ALPHA, ALPHA_TILDE = 0.289281, 0.5, 0.987669  # of a ring of 8 with one averaging for each node and unit of time
PACE, UNITS, REPETITIONS, COLUMNS = 0.08, 25, 4, 50
RING = [(int(i), int(j)) for i, j in nx.cycle_graph(8).edges]


def exact_rate(edges, rate, eta, alpha, alpha_tilde):
    """Give the rate at which the expected squared distance to the mean decays, with Poisson clocks of the edges.

    It is an eigenvalue of the operator that drives the second moments of all nodes' (x, x~).
    """
    nodes = max(max(edge) for edge in edges) + 1
    copies = 2 if eta else 1  # without acceleration x~ plays no part, and never agrees with anything
    away = np.eye(nodes) - 1 / nodes
    eye = np.eye(copies * nodes)
    flow = eta * np.kron([[-1, 1], [1, -1]], away) if eta else np.zeros_like(eye)
    operator = np.kron(flow, eye) + np.kron(eye, flow)
    for (i, j), often in rates_of(edges, rate).items():
        pair = np.zeros((nodes, nodes))
        pair[i, i] = pair[j, j] = 1.0
        pair[i, j] = pair[j, i] = -1.0
        event = eye - np.kron(np.array([[alpha, 0], [alpha_tilde, 0]])[:copies, :copies], pair)
        operator += often * (np.kron(event, event) - np.eye(len(operator)))
    # Only what is orthogonal to consensus: the rest does not decay.
    basis = np.linalg.svd(away)[0][:, : nodes - 1]
    inside = np.kron(np.eye(copies), basis)
    both = np.kron(inside, inside)
    return -np.linalg.eigvals(both.T @ operator @ both).real.max()


@pytest.mark.parametrize(("constants", "rate"), [((0.0, 0.5, 0.5), 0.268056), ((ETA, ALPHA, ALPHA_TILDE), 0.359864)])
def test_the_exact_rates_are_those_known(constants, rate):
    assert exact_rate(RING, 1.0, *constants) == pytest.approx(rate, abs=1e-5)


@pytest.mark.dist
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_ring_of_real_nodes_agrees_as_fast_as_one_with_poisson_clocks():
    measured = {}
    for constants in ((ETA, ALPHA, ALPHA_TILDE), (0.0, 0.5, 0.5)):
        results = run_ranks(decay, 8, RING, PACE, UNITS, constants, COLUMNS, REPETITIONS, timeout=60.0)
        states = np.stack([history for history, _, _ in results])  # rank, repetition, unit of time, column
        distances = ((states - states.mean(axis=0)) ** 2).sum(axis=(0, 3)).mean(axis=0)
        units = np.arange(1, UNITS + 1)
        rate = -np.polyfit(units[4:], np.log(distances[4:]), 1)[0]
        ratio = sum(count for _, count, _ in results) / (8 * UNITS * REPETITIONS)
        exact = exact_rate(RING, ratio, *constants)
        measured[constants] = rate
        print(f"rate {rate:.4f}, exact with Poisson clocks {exact:.4f}, averagings for each gradient {ratio:.3f}")
        if ratio < 0.9:
            pytest.skip("the machine is too busy: gradients outrun their averagings")
        # Credits come at regular times, not at random ones, and so do averagings: no node waits as long as some do with
        # Poisson clocks, and nodes agree rather faster.
        assert 0.85 * exact < rate < 3 * exact
    accelerated, plain = measured.values()
    assert accelerated > plain
