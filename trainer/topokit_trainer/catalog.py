"""Names the trainer knows, with a line about each; importing this loads no PyTorch."""

from __future__ import annotations

__all__ = ["ALGORITHMS", "DATASETS", "MODELS", "OPTIMIZERS"]

ALGORITHMS: dict[str, str] = {
    "dsgd": "decentralized SGD along the mixing schedule; --order atc or awc, --local-steps",
    "allreduce": "the baseline: gradients averaged exactly over all nodes at every step",
}

DATASETS: dict[str, str] = {
    "digits": "scikit-learn's handwritten digits, 8 x 8, 1,797 images, embedded (1,437 for training)",
    "mnist": "files in MNIST format from --data-path; test files where there are any, else a fifth is held out",
}

MODELS: dict[str, str] = {
    "mlp": "two hidden layers of 128 units",
    "cnn": "two convolutions with GroupNorm, then a linear layer",
}

OPTIMIZERS: dict[str, str] = {
    "sgd": "torch.optim.SGD",
    "adam": "torch.optim.Adam",
    "adamw": "torch.optim.AdamW",
}
