"""Optimizers whose nodes step apart: each does what its own optimizer would do alone."""

import copy

import pytest
import torch
from torch.optim import lr_scheduler

from topokit_trainer.asynchronous.row_optimizer import ElementwiseRows, WholeRows, row_optimizer
from topokit_trainer.optimizers import group_names, node_optimizer
from topokit_trainer.stacks import NodeStacks

TURNS = [[1], [0, 2], [], [2], [0, 1, 2], [1, 2], [2]]  # whose turn it is, one unit of time after the other


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)).double()


def two_groups(net):
    return torch.optim.SGD([{"params": net[0].parameters(), "lr": 0.3}, {"params": net[1].parameters()}], lr=0.1)


FACTORIES = {
    "sgd": (lambda net: torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=0.1, nesterov=True), True),
    "adam": (lambda net: torch.optim.Adam(net.parameters(), lr=0.1), True),
    "adamw": (lambda net: torch.optim.AdamW(net.parameters(), lr=0.1, amsgrad=True), True),
    "groups": (two_groups, True),
    "adafactor": (lambda net: torch.optim.Adafactor(net.parameters(), lr=0.1), False),
}


def half(optimizer):
    return lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)


def made(factory, scheduler=half):
    net = model()
    template = factory(net)
    stacks = NodeStacks(net, 3, group_names(net, template))
    return stacks, row_optimizer(stacks, node_optimizer(stacks, factory, template, scheduler))


def gradients(unit, row, net):
    generator = torch.Generator().manual_seed(10 * unit + row)
    return [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in net.parameters()]


def take(stacks, optimizer, units):
    for unit in units:
        for gradient in stacks.gradients:
            gradient.fill_(float("nan"))  # what is not to be used
        views = stacks.views(stacks.gradients)
        for row in TURNS[unit]:
            for place, values in zip(views.values(), gradients(unit, row, stacks.template), strict=True):
                place[row].copy_(values)
        optimizer.step_rows(TURNS[unit])
        optimizer.advance()


@pytest.mark.parametrize("name", FACTORIES)
def test_a_node_is_where_its_own_optimizer_takes_it(name):
    factory, elementwise = FACTORIES[name]
    stacks, optimizer = made(factory)
    assert isinstance(optimizer, ElementwiseRows if elementwise else WholeRows)
    alone = [model() for _ in range(3)]
    apart = [factory(net) for net in alone]
    schedules = [half(one) for one in apart]
    take(stacks, optimizer, range(len(TURNS)))
    for unit, turn in enumerate(TURNS):
        for row in turn:
            for parameter, values in zip(alone[row].parameters(), gradients(unit, row, alone[row]), strict=True):
                parameter.grad = values
            apart[row].step()
        for one in schedules:
            one.optimizer._opt_called = True  # else it warns of nodes that have not stepped yet
            one.step()
    for row, net in enumerate(alone):
        for parameter, found in zip(net.parameters(), stacks.views(stacks.stacks).values(), strict=True):
            assert torch.allclose(found[row], parameter, rtol=1e-12, atol=1e-14)
    assert optimizer.lr == pytest.approx(apart[0].param_groups[0]["lr"])


@pytest.mark.parametrize("name", FACTORIES)
def test_a_state_that_was_saved_goes_on_to_the_same_bits(name):
    stacks, optimizer = made(FACTORIES[name][0])
    take(stacks, optimizer, range(4))
    saved = copy.deepcopy([optimizer.state_of(row) for row in range(3)])
    others, again = made(FACTORIES[name][0])
    for mine, theirs in zip(others.stacks, stacks.stacks, strict=True):
        mine.data.copy_(theirs)
    again.load_states(saved, saved[0])
    for each, one in ((stacks, optimizer), (others, again)):
        take(each, one, range(4, len(TURNS)))
    assert all(map(torch.equal, others.stacks, stacks.stacks))
    assert again.lr == optimizer.lr
    assert again.kind == optimizer.kind


def test_all_nodes_can_step_together():
    stacks, optimizer = made(FACTORIES["sgd"][0], None)
    others, again = made(FACTORIES["sgd"][0], None)
    for each in (stacks, others):
        each.gradients[0].fill_(1.0)
    optimizer.step()
    again.step_rows([0, 1, 2])
    again.advance()
    assert torch.equal(stacks.stacks[0], others.stacks[0])
    assert not torch.equal(stacks.stacks[0][0], NodeStacks(model(), 1, [["0.weight", "0.bias"]]).stacks[0][0, :1])
