"""The options of optimal weights, and what is said while they are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from topokit_cli.output import out
from topokit_cli.registries import weightings

if TYPE_CHECKING:
    from topokit.optimal import Progress

__all__ = ["Ticker", "weight_options"]

EVERY = 1.0  # seconds between two lines of progress


def weight_options(
    weights: str | None,
    time_limit: float | None,
    width: float | None,
    max_weight: float | None = None,
    no_self_loops: bool = False,
) -> dict[str, Any]:
    """Turn options into those of an optimisation; empty for weights that are none."""
    given = {
        "--time-limit": time_limit is not None,
        "--width": width is not None,
        "--max-weight": max_weight is not None,
        "--no-self-loops": no_self_loops,
    }
    if weights is None or weightings()[weights].optimise is None:
        for option, present in given.items():
            if present:
                searches = ", or `topokit design` with --learn or --place" if option == "--time-limit" else ""
                raise typer.BadParameter(
                    f"it is for optimal weights: --weights fdla, fmmc or auto{searches}", param_hint=f"'{option}'"
                )
        return {}
    if width is not None and not 0 < width < 1:
        raise typer.BadParameter(f"it is a number between 0 and 1, got {width:g}", param_hint="'--width'")
    options: dict[str, Any] = {"progress": Ticker()}
    if time_limit is not None:
        options["time_limit"] = time_limit
    if width is not None:
        options["width"] = width
    if max_weight is not None:
        options["upper"] = max_weight
    if no_self_loops:
        options["self_loops"] = False
    return options


class Ticker:
    """Say how far the solver is, once a second; what takes less passes in silence."""

    def __init__(self) -> None:
        self.last = 0.0

    def __call__(self, progress: Progress) -> None:
        """Say it, unless that was done a moment ago."""
        if progress.seconds < self.last:
            self.last = 0.0  # another solver has begun
        if progress.seconds - self.last >= EVERY:
            self.last = progress.seconds
            out.note(progress.sentence())
