"""Node stacks: parameters of many nodes as rows of a few tensors, and modules that are views of them."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector

from topokit.errors import InputError
from topokit_trainer.optimizers import group_names
from topokit_trainer.stacks import NodeStacks, model_traits


def names(model):
    return [[name for name, p in model.named_parameters() if p.requires_grad]]


def stacks_of(model, rows=3, **options):
    return NodeStacks(model, rows, names(model), **options)


def mlp():
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


class Tied(nn.Module):
    """One matrix used twice, under two names."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4, bias=False)
        self.outer = nn.Linear(4, 4)
        self.outer.weight = self.inner.weight

    def forward(self, x):
        return self.outer(torch.tanh(self.inner(x)))


class InList(nn.Module):
    """A parameter that the forward pass takes from a plain list."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 3))
        self.bias = nn.Parameter(torch.zeros(3))
        self.weights = [self.weight]

    def forward(self, x):
        return x @ self.weights[0] + self.bias


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.LSTM(5, 4, num_layers=2, batch_first=True)
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.cells(x)[0][:, -1])


def test_every_node_starts_from_the_model():
    model = mlp()
    stacks = stacks_of(model)
    (stack,) = stacks.stacks
    assert stack.shape == (3, 5 * 4 + 4 + 4 * 3 + 3)
    assert stack.is_contiguous()
    assert torch.equal(stack.detach(), parameters_to_vector(model.parameters()).detach().expand(3, -1))
    assert torch.equal(stacks.gradients[0], torch.zeros_like(stack))
    assert stacks.bytes_per_node == 4 * stack.shape[1]


def test_the_model_itself_is_left_alone():
    model = mlp()
    before = copy.deepcopy(model.state_dict())
    stacks = stacks_of(model)
    stacks.stacks[0].data.fill_(7.0)
    stacks.modules[0].train()(torch.ones(2, 5)).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_views_are_views():
    stacks = stacks_of(mlp())
    views = stacks.views(stacks.stacks)
    assert {name: tuple(v.shape) for name, v in views.items()} == {
        "0.weight": (3, 4, 5),
        "0.bias": (3, 4),
        "2.weight": (3, 3, 4),
        "2.bias": (3, 3),
    }
    views["2.weight"][1, 2, 3] = 42.0
    assert (stacks.stacks[0] == 42.0).nonzero().tolist() == [[1, 24 + 2 * 4 + 3]]
    stacks.stacks[0].data[2].zero_()
    assert all(torch.count_nonzero(v[2]) == 0 for v in views.values())


@pytest.mark.parametrize("make", [mlp, Tied, InList, Recurrent])
def test_modules_share_memory_with_their_rows(make):
    stacks = stacks_of(make())
    for row, module in enumerate(stacks.modules):
        assert torch.equal(parameters_to_vector(module.parameters()), stacks.stacks[0][row])
        stacks.stacks[0].data[row] = torch.randn(stacks.stacks[0].shape[1])
        assert torch.equal(parameters_to_vector(module.parameters()), stacks.stacks[0][row])
        for name, p in module.named_parameters():
            assert p.data_ptr() == stacks.views(stacks.stacks)[name][row].data_ptr()
            assert p.grad.data_ptr() == stacks.views(stacks.gradients)[name][row].data_ptr()
    assert all(a is b for a, b in zip(stacks.modules, stacks.modules, strict=True)), "made once"


def two_groups(model):
    return [[n for n, p in model.named_parameters() if (p.ndim > 1) is wanted] for wanted in (True, False)]


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_copies_lie_below_the_rows_that_are_trained(copies):
    model = mlp()
    stacks = NodeStacks(model, 4, two_groups(model), copies=copies)
    for stack, wide in zip(stacks.stacks, stacks.wide, strict=True):
        assert wide.shape == (4 * copies, stack.shape[1])
        assert torch.equal(wide, stack.detach()[:1].expand_as(wide)), "all copies start from the model"
        assert wide.data_ptr() == stack.data_ptr()
        wide[1] = 5.0
        assert torch.all(stack[1] == 5.0), "the first rows are the stack itself"
        wide[4:] = 7.0
        assert not torch.any(stack == 7.0)
    assert stacks.bytes_per_node == sum(4 * stack.shape[1] for stack in stacks.stacks)


def test_rows_that_are_not_in_use_keep_their_memory():
    model = mlp()
    stacks = NodeStacks(model, 4, two_groups(model))
    for wide in stacks.wide:
        wide.copy_(torch.arange(4.0).unsqueeze(1).expand_as(wide))
    places = [(s.data_ptr(), g.data_ptr()) for s, g in zip(stacks.stacks, stacks.gradients, strict=True)]
    before, objects = stacks.modules, list(stacks.stacks)
    for rows in (2, 0, 1, 4, 3):
        stacks.occupy(rows)
        assert stacks.rows == rows == len(stacks.modules)
        assert all(a is b for a, b in zip(stacks.stacks, objects, strict=True)), "optimizers hold on to them"
        for stack, gradient, place in zip(stacks.stacks, stacks.gradients, places, strict=True):
            assert stack.shape[0] == gradient.shape[0] == rows
            assert stack[:, 0].tolist() == [0.0, 1.0, 2.0, 3.0][:rows]
            assert rows == 0 or (stack.data_ptr(), gradient.data_ptr()) == place
        for row, module in enumerate(stacks.modules):
            assert module is before[row]
            for name, p in module.named_parameters():
                assert p.data_ptr() == stacks.views(stacks.stacks)[name][row].data_ptr()
                assert p.grad.data_ptr() == stacks.views(stacks.gradients)[name][row].data_ptr()
    assert {name: view.shape[0] for name, view in stacks.views(stacks.stacks).items()} == dict.fromkeys(
        ("0.weight", "0.bias", "2.weight", "2.bias"), 3
    )


@pytest.mark.parametrize("make", [mlp, Tied, InList, Recurrent])
def test_modules_compute_what_separate_models_compute(make):
    torch.manual_seed(0)
    model = make().double()
    shape = {"Tied": (6, 4), "Recurrent": (6, 7, 5)}.get(type(model).__name__, (6, 5))
    stacks = stacks_of(model)
    stacks.stacks[0].data.normal_()
    for row, module in enumerate(stacks.modules):
        apart = copy.deepcopy(model)
        for name, p in apart.named_parameters():
            p.data.copy_(stacks.views(stacks.stacks)[name][row])
        x, y = torch.randn(shape, dtype=torch.float64), torch.randint(3, (6,))
        cross_entropy(apart(x), y).backward()
        stacks.gradients[0][row].zero_()
        cross_entropy(module(x), y).backward()
        expected = torch.cat([p.grad.ravel() for p in apart.parameters()])
        assert torch.count_nonzero(expected) > expected.numel() // 2
        assert torch.allclose(stacks.gradients[0][row], expected, rtol=0, atol=1e-14)


def test_tied_parameters_have_one_place():
    model = Tied()
    stacks = stacks_of(model)
    assert [slot.name for slot in stacks.slots] == ["inner.weight", "outer.bias"]
    assert stacks.stacks[0].shape == (3, 20)
    for module in stacks.modules:
        assert module.inner.weight is module.outer.weight


def test_frozen_parameters_are_shared_and_not_stacked():
    model = mlp()
    model[0].weight.requires_grad_(False)
    stacks = stacks_of(model)
    assert [slot.name for slot in stacks.slots] == ["0.bias", "2.weight", "2.bias"]
    assert all(module[0].weight is model[0].weight for module in stacks.modules)
    before = model[0].weight.clone()
    optimizer = torch.optim.SGD(stacks.stacks, lr=1.0)
    stacks.modules[1](torch.ones(2, 5)).sum().backward()
    optimizer.step()
    assert torch.equal(model[0].weight, before)
    assert torch.equal(stacks.stacks[0][0], stacks.stacks[0][2])
    assert not torch.equal(stacks.stacks[0][0], stacks.stacks[0][1])


def test_each_number_type_has_its_stack():
    model = mlp()
    model[2].to(torch.bfloat16)
    stacks = stacks_of(model, rows=2)
    assert [s.dtype for s in stacks.stacks] == [torch.float32, torch.bfloat16]
    assert [tuple(s.shape) for s in stacks.stacks] == [(2, 24), (2, 15)]
    assert stacks.group_of == [0, 0]
    assert stacks.bytes_per_node == 24 * 4 + 15 * 2
    assert [p.dtype for p in stacks.modules[1].parameters()] == [torch.float32] * 2 + [torch.bfloat16] * 2
    assert [slot.columns for slot in stacks.slots] == [slice(0, 20), slice(20, 24), slice(0, 12), slice(12, 15)]


def test_each_optimizer_group_has_its_stack():
    model = mlp()
    weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    optimizer = torch.optim.SGD([{"params": weights, "weight_decay": 0.1}, {"params": biases}], lr=0.1)
    groups = group_names(model, optimizer)
    assert groups == [["0.weight", "2.weight"], ["0.bias", "2.bias"]]
    stacks = NodeStacks(model, 2, groups)
    assert [tuple(s.shape) for s in stacks.stacks] == [(2, 32), (2, 7)]
    assert stacks.group_of == [0, 1]


def test_changing_buffers_have_rows_and_others_are_shared():
    model = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))
    model.register_buffer("table", torch.arange(3.0))
    traits = model_traits(model, torch.randn(4, 5))
    assert traits.changing_buffers == ("1.running_mean", "1.running_var", "1.num_batches_tracked")
    assert not traits.random
    stacks = stacks_of(model, changing_buffers=traits.changing_buffers)
    assert {name: tuple(b.shape) for name, b in stacks.buffers.items()} == {
        "1.running_mean": (3, 3),
        "1.running_var": (3, 3),
        "1.num_batches_tracked": (3,),
    }
    stacks.modules[1](torch.randn(8, 5))
    assert stacks.buffers["1.num_batches_tracked"].tolist() == [0, 1, 0]
    assert torch.count_nonzero(stacks.buffers["1.running_mean"], dim=1).tolist() == [0, 3, 0]
    assert torch.equal(model[1].running_mean, torch.zeros(3))
    assert all(module.table is model.table for module in stacks.modules)


def test_traits_are_found_without_changing_anything():
    model = nn.Sequential(nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    traits = model_traits(model, torch.randn(4, 5, generator=torch.Generator().manual_seed(0)))
    assert traits.random
    assert traits.changing_buffers == ("0.running_mean", "0.running_var", "0.num_batches_tracked")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    # What draws or changes in training alone is found also where the model comes in evaluation mode.
    assert model_traits(model.eval(), torch.randn(4, 5)) == traits
    plain = model_traits(nn.BatchNorm1d(5, track_running_stats=False), torch.randn(4, 5))
    assert (plain.random, plain.changing_buffers) == (False, ())


def test_averages_are_written_back():
    model = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))
    stacks = stacks_of(model, changing_buffers=("1.running_mean",))
    stacks.stacks[0].data.normal_()
    target = copy.deepcopy(model)
    stacks.load_average(target, [stacks.stacks[0].mean(0)], {"1.running_mean": torch.ones(3)})
    assert torch.equal(parameters_to_vector(target.parameters()), stacks.stacks[0].mean(0))
    assert torch.equal(target[1].running_mean, torch.ones(3))
    assert torch.equal(target[1].running_var, model[1].running_var)


def test_what_cannot_be_stacked_is_refused():
    with pytest.raises(InputError, match="no parameters to train"):
        NodeStacks(nn.ReLU(), 2, [[]])
    with pytest.raises(InputError, match=r"torch\.complex64 cannot be averaged"):
        stacks_of(nn.Linear(2, 2, dtype=torch.complex64))
    with pytest.raises(InputError, match="parameter weight has no shape yet"):
        stacks_of(nn.LazyLinear(3))
    other = mlp()
    with pytest.raises(InputError, match="not the model's"):
        group_names(mlp(), torch.optim.SGD(other.parameters(), lr=0.1))


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 5),
    shapes=st.lists(st.lists(st.integers(1, 4), max_size=3), min_size=1, max_size=5),
    data=st.data(),
)
def test_slots_cover_the_columns_once(rows, shapes, data):
    model = nn.ParameterDict({f"p{k}": nn.Parameter(torch.randn(shape)) for k, shape in enumerate(shapes)})
    group = data.draw(st.lists(st.integers(0, 1), min_size=len(shapes), max_size=len(shapes)))
    groups = [[f"p{k}" for k, g in enumerate(group) if g == which] for which in range(2)]
    stacks = NodeStacks(model, rows, groups)
    assert sorted(slot.name for slot in stacks.slots) == sorted(model)
    for number, stack in enumerate(stacks.stacks):
        columns = [c for s in stacks.slots if s.stack == number for c in range(s.columns.start, s.columns.stop)]
        assert columns == list(range(stack.shape[1]))
    for name, view in stacks.views(stacks.stacks).items():
        assert torch.equal(view[-1], model[name])
