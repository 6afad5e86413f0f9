"""The package itself: its names, loaded when used, and its version."""

import importlib
import tomllib
from pathlib import Path

import pytest

import topokit


def test_every_public_name_is_there():
    assert set(topokit.__all__) <= set(dir(topokit))
    for name in topokit.__all__:
        assert getattr(topokit, name) is not None
    assert topokit.Schedule is importlib.import_module("topokit.schedule").Schedule
    assert topokit.design is importlib.import_module("topokit.designer").design


def test_public_names_are_declared_for_type_checkers_too():
    text = Path(topokit.__file__).read_text(encoding="utf-8")
    declared = text.partition("if TYPE_CHECKING:")[2].partition("__version__")[0]
    for name in topokit.__all__:
        assert name == "__version__" or name in declared


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="module 'topokit' has no attribute 'analyse'"):
        topokit.analyse  # noqa: B018


def test_the_version_is_that_of_the_distribution():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert topokit.__version__ == project["version"]
