"""Algorithms keep everything on the nodes' device, and do not wait for it.

No GPU is needed for that: tensors on PyTorch's meta device have shapes and no values. Operations that would bring
together two devices fail on them as they do on a GPU, and so does looking at a value, for which a GPU would be waited
for.
"""

import numpy as np
import pytest
import torch
from own_schedules import ASYNCHRONOUS, PACKED, own_schedules
from problems import CLASSES, FEATURES, blobs, settings
from torch import nn, optim
from torch.nn.functional import cross_entropy

from topokit_trainer.algorithms import make_algorithm
from topokit_trainer.algorithms.push_sum import PushSum
from topokit_trainer.catalog import ALGORITHMS
from topokit_trainer.data import NodeBatches
from topokit_trainer.gradients import LoopGradients, VmapGradients
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import StackedOptimizer, group_names
from topokit_trainer.stacks import NodeStacks
from topokit_trainer.world import World

NODES = 8
SCHEDULES = own_schedules(NODES, active=4)
# Packing looks at values, which the device of this test does not have.
WHOLE = [name for name in ALGORITHMS if name not in PACKED]
COUNTED = ("tally", "scale")  # a few numbers of each node, worked out on the host from what was drawn there
META = World(device=torch.device("meta"))
VARIANTS = {
    **{name: {"algorithm": name} for name in WHOLE},
    "awc": {"algorithm": "dsgd", "order": "awc", "local_steps": 2},
    "cta": {"algorithm": "dsgd", "order": "cta"},
    "mixed momentum": {"algorithm": "dsgd", "momentum_mixing": "mixed"},
    "quasi-global momentum": {"algorithm": "dsgd", "momentum_mixing": "quasi-global"},
    "outer steps": {"algorithm": "dsgd", "outer_every": 2},
    "clipped": {"algorithm": "gradient-tracking", "clip": 1.0},
    "reset": {"algorithm": "teleportation", "handover": "reset"},
}


def nodes_on_the_device(config, algorithm, engine, factory):
    schedule = SCHEDULES[config.algorithm]
    model = nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, CLASSES)).double().to("meta")
    template, rows = factory(model), algorithm.capacity(schedule, range(NODES))
    stacks = NodeStacks(model, rows, group_names(model, template), (), algorithm.copies(schedule))
    optimizer = StackedOptimizer(stacks, template, None)
    batches = NodeBatches(blobs().train, NODES, range(NODES), config, META.device, torch.float64)
    nodes = Nodes(stacks, engine(stacks, cross_entropy), optimizer, batches, schedule, META, config.clip)
    algorithm.check(schedule, optimizer)
    algorithm.place(nodes, 0)
    algorithm.prepare(nodes, 0)
    return nodes


@pytest.mark.parametrize("engine", [LoopGradients, VmapGradients])
@pytest.mark.parametrize("variant", VARIANTS)
def test_steps_stay_on_the_device(variant, engine):
    config = settings(momentum=0.9, **VARIANTS[variant])
    algorithm = make_algorithm(config)
    nodes = nodes_on_the_device(
        config, algorithm, engine, lambda model: optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    )
    if isinstance(algorithm, PushSum):
        algorithm.weights = np.ones(NODES)  # asked of the ranks once, when a run goes on
    first = 1 if config.outer_every else 0  # the first outer model, an exact mean, is worked out once
    for step in range(first, first + 4):
        algorithm.step(nodes, step)
    kept = [t for name, state in nodes.states.items() if name not in COUNTED for t in state.tensors]
    held = [*nodes.parameters, *nodes.stacks.gradients, *kept, *algorithm.averages(nodes).values(), nodes.losses.total]
    assert {tensor.device.type for tensor in held} == {"meta"}
    taken = int(nodes.states["tally"].tensors[0][:, 0].sum()) if config.algorithm in ASYNCHRONOUS else 0
    ahead = nodes.stacks.rows if config.algorithm == "ad-psgd" else 0  # gradients that are applied later
    assert nodes.losses.count == (taken + ahead or 4 * nodes.stacks.rows)


@pytest.mark.parametrize("name", WHOLE)
def test_so_do_those_of_adam(name):
    config = settings(algorithm=name)
    algorithm = make_algorithm(config)
    nodes = nodes_on_the_device(config, algorithm, VmapGradients, lambda model: optim.Adam(model.parameters()))
    if isinstance(algorithm, PushSum):
        algorithm.weights = np.ones(NODES)
    for step in range(3):
        algorithm.step(nodes, step)
    averages = [state["exp_avg"] for state in nodes.optimizer.optimizer.state.values()]
    assert averages
    assert all(tensor.is_meta for tensor in averages)


def test_a_look_at_a_value_and_a_tensor_elsewhere_would_be_noticed():
    """What the tests above rely on."""
    there, here = torch.ones(4, 2, device="meta"), torch.ones(4, 2)
    for look in (there.tolist, there[0, 0].item, there.numpy, lambda: float(there[0, 0]), lambda: bool(there.any())):
        with pytest.raises((RuntimeError, NotImplementedError, TypeError)):
            look()
    for operation in (lambda: there + here, lambda: there.addcmul_(there, here), lambda: torch.sub(there, here)):
        with pytest.raises(RuntimeError, match="device"):
            operation()
