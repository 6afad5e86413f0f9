"""The data: built-in sets, a user's own, and which batch a node sees at which step."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset, default_collate

from topokit.errors import InputError
from topokit.matrix import IntArray
from topokit_trainer.config import TrainConfig
from topokit_trainer.models import import_object
from topokit_trainer.partition import dirichlet_partition, iid_partition, sorted_partition
from topokit_trainer.seeding import keyed_generator, keyed_seed

__all__ = ["Data", "NodeBatches", "given_data", "load_data", "read_mnist"]


@dataclass(frozen=True)
class Data:
    """A training and a test set (map-style)."""

    train: Dataset[Any]
    test: Dataset[Any]

    def __post_init__(self) -> None:
        """Refuse data sets without a length (nodes get equal shares of what can be counted), or without samples."""
        for name, part in (("training", self.train), ("test", self.test)):
            if isinstance(part, IterableDataset) or not hasattr(part, "__len__"):
                raise InputError(f"the {name} data is an iterable data set; give a map-style one, with a length")
            if not len(part):
                raise InputError(f"the {name} data is empty")

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.train[0][0].shape)

    @property
    def classes(self) -> int:
        """Number of classes: one more than the largest label."""
        return int(labels_of(self.train).max()) + 1


def load_data(config: TrainConfig) -> Data:
    """Load the data set that the configuration names.

    Raises
    ------
    InputError
        If files are missing or malformed.
    """
    if config.data == "digits":
        return digits()
    if config.data == "mnist":
        return mnist(cast(Path, config.data_path))
    made = import_object(config.data, "--data")()
    if isinstance(made, Data):
        return made
    if not isinstance(made, tuple | list) or len(made) != 2:
        raise InputError(f"--data {config.data} must return (training set, test set), not {type(made).__name__}")
    return Data(*made)


def given_data(data: Any) -> Data:
    """Take what a caller gives for data: `Data`, a pair of map-style datasets, or a function that returns either.

    Raises
    ------
    InputError
        If it is something else.
    """
    made = data() if callable(data) and not isinstance(data, Data) else data
    if isinstance(made, Data):
        return made
    if not isinstance(made, tuple | list) or len(made) != 2:
        raise InputError(f"data must be a pair (training set, test set), not {type(made).__name__}")
    return Data(*made)


def digits() -> Data:
    """Scikit-learn's digits, scaled to [0, 1]; every fifth image is for testing."""
    images, labels = _digits_of_sklearn()
    return hold_out_fifth(torch.from_numpy(images).to(torch.float32).unsqueeze(1) / 16, torch.from_numpy(labels).long())


def _digits_of_sklearn() -> tuple[NDArray[Any], NDArray[Any]]:
    """Give images and labels as scikit-learn has them.

    Read from its file, since importing scikit-learn costs every rank as much as half of PyTorch does.
    """
    found = find_spec("sklearn")
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            rows = np.loadtxt(path, delimiter=",")
            return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]
    from sklearn.datasets import load_digits  # which knows where its file is, or is not installed

    bunch = load_digits()
    return bunch.images, bunch.target


def mnist(folder: Path) -> Data:
    """Read MNIST-format files: train and t10k where both are there, else every fifth image of the one is held out."""
    if not folder.is_dir():
        raise InputError(f"--data-path {folder} is not a folder")
    parts = {
        prefix: read_mnist(folder, prefix)
        for prefix in ("train", "t10k")
        if any(folder.glob(f"{prefix}-images*"))
    }  # fmt: skip
    if not parts:
        raise InputError(f"{folder} holds no train-images-idx3-ubyte or t10k-images-idx3-ubyte file (plain or .gz)")
    if len(parts) == 2:
        return Data(TensorDataset(*parts["train"]), TensorDataset(*parts["t10k"]))
    return hold_out_fifth(*next(iter(parts.values())))


def read_mnist(folder: Path, prefix: str) -> tuple[Tensor, Tensor]:
    """Read one pair of image and label files in IDX format, plain or gzipped.

    Returns
    -------
    images : Tensor of float32, shape (samples, 1, height, width), in [0, 1]
    labels : Tensor of int64, shape (samples,)

    Raises
    ------
    InputError
        If a file is missing, is not IDX, or is truncated, or if there are not as many labels as images.
    """
    arrays = []
    for stem, magic in ((f"{prefix}-images-idx3-ubyte", 2051), (f"{prefix}-labels-idx1-ubyte", 2049)):
        path = next((p for p in (folder / stem, folder / f"{stem}.gz") if p.exists()), None)
        if path is None:
            raise InputError(f"{folder / stem} is missing (plain or .gz)")
        try:
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        dims = magic % 256
        if len(raw) < 4 + 4 * dims:
            raise InputError(f"{path} is not in IDX format: it ends within its header")
        found, *shape = struct.unpack(f">{1 + dims}I", raw[: 4 + 4 * dims])
        body = np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * dims)
        if found != magic:
            raise InputError(f"{path} is not in IDX format: it should start with the number {magic}, not {found}")
        if body.size != prod(shape):
            raise InputError(f"{path} has {body.size} bytes of data, but its header announces {prod(shape)}")
        arrays.append(body.reshape(shape).copy())
    images, labels = arrays
    if len(images) != len(labels):
        raise InputError(f"{folder} has {len(images)} {prefix} images but {len(labels)} labels")
    return torch.from_numpy(images).to(torch.float32).unsqueeze(1) / 255, torch.from_numpy(labels).long()


def hold_out_fifth(images: Tensor, labels: Tensor) -> Data:
    """Split off every fifth sample for testing."""
    test = torch.arange(len(labels)) % 5 == 0
    return Data(TensorDataset(images[~test], labels[~test]), TensorDataset(images[test], labels[test]))


def labels_of(dataset: Dataset[Any]) -> IntArray:
    """Give the labels of a data set without decoding its inputs where that can be avoided."""
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[1].cpu().numpy().astype(np.int64)
    targets = getattr(dataset, "targets", None)
    if targets is not None:
        return np.asarray(targets, dtype=np.int64)
    return np.asarray([int(dataset[i][1]) for i in range(len(cast(Sized, dataset)))], dtype=np.int64)


class NodeBatches:
    """Batches of the nodes on this rank, a pure function of (seed, node, step).

    Every node owns an equal share of the training data and goes through it in a fresh order each epoch; what is left
    of an epoch after the last whole batch is left out of that epoch.

    Parameters
    ----------
    dataset : Dataset
        The training set, map-style.
    nodes : int
        Number of nodes of the whole run.
    local : range
        Nodes of this rank.
    config : TrainConfig
        Partition, batch size and seed.
    device : torch.device
        Where batches are put; a `TensorDataset` is put there as a whole.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        nodes: int,
        local: range,
        config: TrainConfig,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        size = len(cast(Sized, dataset))
        share = size // nodes
        if share < config.batch_size:
            raise InputError(
                f"each of {nodes} nodes has {share} of {size} samples, fewer than --batch-size {config.batch_size}; "
                f"take at most {share} (or fewer nodes)"
                if share
                else f"{size} samples are too few for {nodes} nodes"
            )
        if config.partition == "iid":
            shares = iid_partition(size, nodes, config.seed)
        elif config.partition == "sorted":
            shares = sorted_partition(labels_of(dataset), nodes)
        else:
            shares = dirichlet_partition(labels_of(dataset), nodes, config.alpha, config.seed)
        self.shares = dict(zip(local, shares[local.start : local.stop], strict=True))
        self.local, self.config, self.device, self.dtype = local, config, device, dtype
        self.dataset = dataset
        self.tensors = (
            tuple(self.convert(t.to(device)) for t in dataset.tensors) if isinstance(dataset, TensorDataset) else None
        )
        self.batches_per_epoch = share // config.batch_size
        self._orders: dict[int, tuple[int, IntArray]] = {}

    def convert(self, tensor: Tensor) -> Tensor:
        """Floating-point inputs take the number type of the parameters."""
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def indices(self, step: int) -> IntArray:
        """Sample numbers of the batches of one step, shape (nodes on this rank, batch size)."""
        return np.stack([self.samples(node, step) for node in self.local])

    def samples(self, node: int, number: int) -> IntArray:
        """Sample numbers of the batch that a local node sees when it takes its gradient number ``number`` (from 0)."""
        epoch, batch = divmod(number, self.batches_per_epoch)
        if self._orders.get(node, (-1,))[0] != epoch:
            share = self.shares[node]
            order = keyed_generator(self.config.seed, "batches", node, epoch).permutation(len(share))
            self._orders[node] = epoch, share[order]
        return self._orders[node][1][batch * self.config.batch_size : (batch + 1) * self.config.batch_size]

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Give inputs (nodes on this rank, batch, ...) and targets (nodes on this rank, batch, ...) of one step."""
        return self.of(self.local, [step] * len(self.local))

    def of(self, nodes: Sequence[int], numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Give the batches of some local nodes, each of its own number: inputs and targets (len(nodes), batch, ...)."""
        chosen = np.stack([self.samples(node, number) for node, number in zip(nodes, numbers, strict=True)])
        if self.tensors is not None:
            index = torch.from_numpy(np.ascontiguousarray(chosen)).to(self.device)
            return self.tensors[0][index], self.tensors[1][index]
        inputs, targets = [], []
        for node, number, row in zip(nodes, numbers, chosen, strict=True):
            # Random augmentation draws from PyTorch's generator: keyed, it is the same on whatever rank it runs.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(keyed_seed(self.config.seed, "augmentation", node, number))
                x, y = default_collate([self.dataset[int(i)] for i in row])
            inputs.append(x)
            targets.append(y)
        return self.convert(torch.stack(inputs).to(self.device)), torch.stack(targets).to(self.device)
