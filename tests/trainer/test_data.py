"""Data sets, files in MNIST format, and which batch a node sees at which step."""

import gzip
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from problems import blobs, linear, settings
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from topokit.designer import design
from topokit.errors import InputError
from topokit_trainer import Data, TrainConfig, Trainer
from topokit_trainer.data import NodeBatches, given_data, labels_of, load_data, read_mnist
from topokit_trainer.partition import dirichlet_partition, iid_partition, sorted_partition

CPU = torch.device("cpu")


def numbered(samples):
    """A data set whose inputs are the numbers of the samples."""
    return TensorDataset(torch.arange(samples, dtype=torch.float64).unsqueeze(1), torch.arange(samples) % 3)


def batches_of(dataset, nodes, local=None, dtype=torch.float64, **changes):
    return NodeBatches(dataset, nodes, range(nodes) if local is None else local, settings(**changes), CPU, dtype)


# Batches


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    samples=st.integers(12, 80),
    nodes=st.sampled_from([1, 2, 4]),
    batch_size=st.integers(1, 3),
    seed=st.integers(0, 2**31),
    partition=st.sampled_from(["iid", "dirichlet", "sorted"]),
    steps=st.lists(st.integers(0, 200), min_size=1, max_size=8),
)
def test_batches_are_a_pure_function_of_seed_node_and_step(samples, nodes, batch_size, seed, partition, steps):
    options = {"batch_size": batch_size, "seed": seed, "partition": partition}
    together = batches_of(numbered(samples), nodes, **options)
    expected = {step: together.indices(step).copy() for step in range(201)}
    for step in steps:  # in any order
        assert np.array_equal(together.indices(step), expected[step])
        for node in range(nodes):
            apart = batches_of(numbered(samples), nodes, range(node, node + 1), **options)
            assert np.array_equal(apart.indices(step)[0], expected[step][node])
            x, y = apart(step)
            assert x.shape == (1, batch_size, 1)
            assert np.array_equal(x[0, :, 0].numpy(), expected[step][node])
            assert np.array_equal(y[0].numpy(), expected[step][node] % 3)


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "sorted"])
def test_an_epoch_visits_each_sample_at_most_once(partition):
    batches = batches_of(numbered(103), 4, batch_size=4, partition=partition)
    assert batches.batches_per_epoch == 6  # 25 samples a node, the last one of which is left out of the epoch
    labels = np.arange(103) % 3
    share = {
        "iid": iid_partition(103, 4, 0),
        "dirichlet": dirichlet_partition(labels, 4, 0.1, seed=0),
        "sorted": sorted_partition(labels, 4),
    }[partition]
    left_out = []
    for epoch in range(30):
        seen = np.concatenate([batches.indices(epoch * 6 + k) for k in range(6)], axis=1)
        for node in range(4):
            assert np.unique(seen[node]).size == 24
            assert set(seen[node]) < set(share[node])
            left_out.append((node, *(set(share[node]) - set(seen[node]))))
    assert len(set(left_out)) > 40, "another sample is left out in another epoch"
    assert not np.array_equal(batches.indices(0), batches.indices(6))


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    wanted=st.lists(st.tuples(st.integers(2, 5), st.integers(0, 60)), min_size=1, max_size=9),
    whole=st.booleans(),
)
def test_batches_of_some_nodes_each_of_its_own_number(wanted, whole):
    """As algorithms ask for them in which few nodes are active, and nodes have taken unlike numbers of steps."""
    dataset = numbered(70) if whole else Subset(numbered(70), range(70))
    batches = batches_of(dataset, 6, range(2, 6), batch_size=3)
    nodes, numbers = zip(*wanted, strict=True)
    x, y = batches.of(nodes, numbers)
    everyone = batches_of(numbered(70), 6, batch_size=3)
    expected = np.stack([everyone.indices(number)[node] for node, number in wanted])
    assert x.shape == (len(wanted), 3, 1)
    assert np.array_equal(x[:, :, 0].numpy(), expected)
    assert np.array_equal(y.numpy(), expected % 3)
    assert np.array_equal(batches.samples(*wanted[0]), expected[0])


def test_batches_of_one_step_are_those_of_all_local_nodes():
    batches = batches_of(numbered(70), 6, range(2, 6), batch_size=3)
    for mine, theirs in zip(batches(11), batches.of([2, 3, 4, 5], [11] * 4), strict=True):
        assert torch.equal(mine, theirs)


def test_seeds_give_other_batches():
    first, second = (batches_of(numbered(100), 2, batch_size=10, seed=seed).indices(0) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_inputs_take_the_number_type_of_the_parameters():
    x, y = batches_of(numbered(20), 2, batch_size=2, dtype=torch.bfloat16)(0)
    assert (x.dtype, y.dtype) == (torch.bfloat16, torch.int64)
    tokens = TensorDataset(torch.arange(20).unsqueeze(1), torch.arange(20))
    assert batches_of(tokens, 2, batch_size=2)(0)[0].dtype == torch.int64


class Augmented(Dataset):
    """Draws from PyTorch's generator whenever a sample is read."""

    def __init__(self, samples=40):
        self.samples = samples

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        return torch.full((3,), float(index)) + torch.rand(3), index % 2


def test_random_augmentation_is_the_same_on_whatever_rank():
    options = {"batch_size": 4, "dtype": torch.float32}
    everywhere = batches_of(Augmented(), 4, **options)
    second_rank = batches_of(Augmented(), 4, range(2, 4), **options)
    for step in (0, 7, 3):
        x, y = everywhere(step)
        torch.rand(5)  # what else draws random numbers does not matter
        again, labels = second_rank(step)
        assert torch.equal(x[2:], again)
        assert torch.equal(y[2:], labels)
        assert torch.equal(x.floor()[..., 0].long(), torch.from_numpy(everywhere.indices(step)))
        assert x.frac().unique().numel() > 40, "nodes draw numbers of their own (of 48)"
    x, again = everywhere(0)[0], everywhere(10)[0]  # the same sample in another epoch is augmented anew
    shared = set(x.floor()[..., 0].ravel().tolist()) & set(again.floor()[..., 0].ravel().tolist())
    assert shared
    assert not set(x.frac().ravel().tolist()) & set(again.frac().ravel().tolist())


def test_reading_a_batch_leaves_the_generator_alone():
    batches, state = batches_of(Augmented(), 4, batch_size=4), torch.get_rng_state()
    batches(3)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (3, "3 samples are too few for 4 nodes"),
        (40, r"each of 4 nodes has 10 of 40 samples, fewer than --batch-size 16; take at most 10 \(or fewer nodes\)"),
    ],
)
def test_too_few_samples(samples, message):
    with pytest.raises(InputError, match=message):
        batches_of(numbered(samples), 4, batch_size=16)


# Data sets


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(3), 0


def test_iterable_data_sets_are_refused():
    with pytest.raises(InputError, match="training data is an iterable data set; give a map-style one"):
        Data(Stream(), numbered(5))
    with pytest.raises(InputError, match="test data is an iterable data set"):
        Trainer(design("ring", 4), settings(), data=(numbered(50), Stream()), model=linear)


def test_an_empty_test_set_is_refused():
    with pytest.raises(InputError, match="test data is empty"):
        Data(numbered(5), numbered(0))


class Labelled(Augmented):
    targets = (2, 0, 1)

    def __getitem__(self, index):
        raise AssertionError("the labels are known without reading samples")


def test_labels_without_reading_samples():
    assert labels_of(numbered(5)).tolist() == [0, 1, 2, 0, 1]
    assert labels_of(Labelled()).tolist() == [2, 0, 1]
    assert labels_of(Subset(numbered(5), [4, 2])).tolist() == [1, 2]


@pytest.mark.parametrize("found", [True, False], ids=["file", "package"])
def test_digits_are_those_of_scikit_learn(monkeypatch, found):
    from sklearn.datasets import load_digits

    if not found:  # as in a release that keeps its files elsewhere
        monkeypatch.setattr("topokit_trainer.data.find_spec", lambda name: None)
    data, bunch = load_data(TrainConfig()), load_digits()
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert (data.sample_shape, data.classes) == ((1, 8, 8), 10)
    test = data.test.tensors
    assert np.array_equal(test[0][:, 0].numpy(), bunch.images[::5] / 16)
    assert np.array_equal(test[1].numpy(), bunch.target[::5])
    kept = np.arange(1797) % 5 != 0
    assert np.array_equal(data.train.tensors[0][:, 0].numpy(), bunch.images[kept] / 16)
    assert np.array_equal(data.train.tensors[1].numpy(), bunch.target[kept])


def test_own_data_by_name(tmp_path, monkeypatch):
    (tmp_path / "my_data.py").write_text("from problems import blobs\nNOTHING = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(load_data(settings(data="my_data:blobs")), Data)
    with pytest.raises(InputError, match="--data my_data:missing cannot be imported"):
        load_data(settings(data="my_data:missing"))
    with pytest.raises(InputError, match="--data no_such_module:blobs cannot be imported"):
        load_data(settings(data="no_such_module:blobs"))


# Files in MNIST format

IMAGES = np.arange(10 * 3 * 2, dtype=np.uint8).reshape(10, 3, 2) * 4
LABELS = np.arange(10, dtype=np.uint8) % 4


def images_file(images=IMAGES, magic=2051):
    return struct.pack(">4I", magic, *images.shape) + images.tobytes()


def labels_file(labels=LABELS, magic=2049):
    return struct.pack(">2I", magic, labels.size) + labels.tobytes()


def write(folder, prefix, images, labels, zipped=False):
    for stem, content in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
        if content is not None:
            path = folder / f"{stem}.gz" if zipped else folder / stem
            path.write_bytes(gzip.compress(content) if zipped else content)


@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_files_are_read(tmp_path, zipped):
    write(tmp_path, "t10k", images_file(), labels_file(), zipped)
    images, labels = read_mnist(tmp_path, "t10k")
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert images.shape == (10, 1, 3, 2)
    assert np.allclose(images[:, 0].numpy(), IMAGES / 255, rtol=0, atol=1e-7)
    assert labels.tolist() == LABELS.tolist()


def test_one_pair_of_mnist_files_is_split(tmp_path):
    write(tmp_path, "t10k", images_file(), labels_file())
    data = load_data(settings(data="mnist", data_path=tmp_path))
    assert data.test.tensors[1].tolist() == LABELS[[0, 5]].tolist()
    assert data.train.tensors[1].tolist() == LABELS[[1, 2, 3, 4, 6, 7, 8, 9]].tolist()
    assert (data.sample_shape, data.classes) == ((1, 3, 2), 4)


def test_two_pairs_of_mnist_files_are_train_and_test(tmp_path):
    write(tmp_path, "train", images_file(), labels_file(), zipped=True)
    write(tmp_path, "t10k", images_file(IMAGES[:3]), labels_file(LABELS[:3]))
    data = load_data(settings(data="mnist", data_path=tmp_path))
    assert (len(data.train), len(data.test)) == (10, 3)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (images_file(magic=2049), labels_file(), "images-idx3-ubyte is not in IDX format: .* 2051, not 2049"),
        (images_file(), labels_file(magic=7), "labels-idx1-ubyte is not in IDX format: .* 2049, not 7"),
        (images_file()[:-7], labels_file(), "images-idx3-ubyte has 53 bytes of data, but its header announces 60"),
        (images_file(), labels_file() + b"x", "labels-idx1-ubyte has 11 bytes of data, but its header announces 10"),
        (images_file()[:10], labels_file(), "images-idx3-ubyte is not in IDX format: it ends within its header"),
        (b"", labels_file(), "images-idx3-ubyte is not in IDX format"),
        (images_file(), None, "labels-idx1-ubyte is missing"),
        (images_file(), labels_file(LABELS[:9]), "has 10 train images but 9 labels"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_malformed_mnist_files_are_named(tmp_path, images, labels, message, zipped):
    write(tmp_path, "train", images, labels, zipped)
    message = message.replace("ubyte ", r"ubyte(\.gz)? ")
    with pytest.raises(InputError, match=message):
        load_data(settings(data="mnist", data_path=tmp_path))


@pytest.mark.parametrize("damage", ["not gzip", "cut off", "scrambled"])
def test_damaged_gzip_is_named(tmp_path, damage):
    whole = gzip.compress(images_file())
    content = {"not gzip": b"no gzip at all", "cut off": whole[:-12], "scrambled": whole[:14] + b"\xff" * len(whole)}
    write(tmp_path, "train", None, labels_file(), zipped=True)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content[damage])
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz cannot be read: "):
        load_data(settings(data="mnist", data_path=tmp_path))


def test_missing_mnist_folder_or_files(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        load_data(settings(data="mnist", data_path=tmp_path / "nowhere"))
    with pytest.raises(InputError, match="holds no train-images-idx3-ubyte or t10k-images-idx3-ubyte file"):
        load_data(settings(data="mnist", data_path=tmp_path))


@pytest.mark.parametrize(
    "give", [lambda pair: pair, lambda pair: list(pair), lambda pair: lambda: pair, lambda pair: Data(*pair)]
)
def test_data_is_given_in_any_of_these_ways(give):
    pair = (blobs().train, blobs().test)
    assert given_data(give(pair)).train is pair[0]


def test_data_that_is_no_pair_is_refused():
    with pytest.raises(InputError, match="data must be a pair \\(training set, test set\\), not int"):
        given_data(3)
