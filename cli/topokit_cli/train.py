"""``topokit train``: train along a schedule, in one process or several."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from topokit.errors import InputError
from topokit_cli.options import AsJson
from topokit_cli.output import out
from topokit_trainer.config import TrainConfig, config_from_arguments, flag

__all__ = ["RESULT_COLUMNS", "result_row", "train"]

RESULT_COLUMNS = (
    "run", "steps", "accuracy", "nodes' mean", "worst node", "loss", "consensus", "MB sent a node", "seconds",
)  # fmt: skip


def train_command(
    schedule: Annotated[str, typer.Argument(help="Mixing schedule file.", metavar="FILE", show_default=False)],
    processes: Annotated[
        int, typer.Option("--processes", "-p", help="Ranks to start on this machine.", metavar="P", min=1)
    ] = 1,
    survive: Annotated[
        bool,
        typer.Option(
            "--survive",
            help="Go on when a rank dies: each is a process of its own, and the ranks meet in this command. For "
            "async-gossip and ad-psgd with a real clock, and for dsgd with --on-failure reweight.",
        ),
    ] = False,
    restarts: Annotated[
        int | None,
        typer.Option(
            "--restarts",
            help="With --survive, how often each rank that dies is started again (default: 3 in asynchronous runs, "
            "never in synchronous ones).",
            metavar="N",
            min=0,
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    **options: Any,
) -> None:
    """Train along a mixing schedule: all nodes in this process, or spread over several.

    \b
    Examples:
      topokit train schedule.json --steps 200 --out run
      topokit train schedule.json --partition dirichlet --alpha 0.1 --momentum 0.9
      topokit train schedule.json --processes 4 --order awc --out run
      topokit train schedule.json --search-active --steps 500 --out search
      topokit train pairs.json --processes 8 --algorithm async-gossip --survive --out run
      torchrun --nproc-per-node 4 -m topokit_trainer schedule.json --out run

    A run that was interrupted goes on when the same command is given again. With --json, standard output is the last
    evaluation as one object.
    """
    config = config_from_arguments({name: _plain(value) for name, value in options.items()})
    survival = _Survival(survive, restarts)
    if config.search_active and not survive:
        _search(schedule, config, processes, as_json)
        return
    if processes == 1 and not survive:
        from topokit_trainer.launch import run_schedule

        rows = run_schedule(schedule, config, out.note)
        _show(config.out.name if config.out else schedule, rows[-1], as_json)
        return
    with TemporaryDirectory() as scratch:
        # Ranks hand their results over in a folder; without --out it is gone afterwards, and so are checkpoints.
        folder = config.out or Path(scratch, "run")
        running = config if config.out else replace(config, out=folder, checkpoint_every=0)
        _start(schedule, running, processes, survival)
        from topokit_trainer.telemetry import read_metrics

        _show(config.out.name if config.out else schedule, read_metrics(folder)[-1], as_json)


def _search(schedule: str, config: TrainConfig, processes: int, as_json: bool) -> None:
    from topokit_trainer.launch import run_schedule

    with TemporaryDirectory() as scratch:
        folder = config.out or Path(scratch, "run")
        running = config if config.out else replace(config, out=folder, checkpoint_every=0)
        if processes == 1:
            run_schedule(schedule, running, out.note)
        else:
            _start(schedule, running, processes)
        found = json.loads((folder / "search.json").read_text())
    if as_json:
        out.json(found)
        return
    best = found["best"]
    rows = [
        [f"{c['active']}{' *' if c['active'] == best else ''}", c["accuracy"], c["loss"], c["consensus_distance"]]
        for c in found["candidates"]
    ]
    out.table(("active nodes", "accuracy", "loss", "consensus"), rows)
    out.note(f"* least loss: {best} of {found['nodes']} nodes active, mixing by {found['inner']}")
    if config.out:
        out.note(
            f"{config.out / 'schedule.json'} is the schedule with {best}; averaged-model.pt beside it is its model"
        )


@dataclass(frozen=True)
class _Survival:
    """Whether a run outlives its ranks, and how often these are started again."""

    wanted: bool = False
    restarts: int | None = None

    def __post_init__(self) -> None:
        if self.restarts is not None and not self.wanted:
            raise InputError("--restarts belongs to --survive: without it the death of a rank ends the run")


def _start(schedule: str, config: TrainConfig, processes: int, survival: _Survival | None = None) -> None:
    if survival and survival.wanted:
        from topokit_trainer.survive import start_survivors

        status = start_survivors(schedule, config, processes, out.note, restarts=survival.restarts, quiet=out.quiet)
    else:
        from topokit_trainer.launch import start_ranks

        status = start_ranks(schedule, config, processes, quiet=out.quiet)
    if status:
        raise typer.Exit(status)


def _show(name: str, row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        out.json(row)
    else:
        out.table(RESULT_COLUMNS, [result_row(name, row)])


def result_row(name: str, row: dict[str, Any]) -> list[object]:
    """Give the main figures of an evaluation, in the order of `RESULT_COLUMNS`."""
    return [
        name,
        row["step"],
        row["accuracy"],
        row["node_accuracy_mean"],
        row["node_accuracy_worst"],
        row["loss"],
        row["consensus_distance"],
        row["bytes_sent_per_node"] / 1e6,
        round(row["seconds"], 1),
    ]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _choices(name: str, hint: Any) -> Any:
    """Turn a literal type into an enumeration, which typer shows as choices."""
    if get_origin(hint) is not Literal:
        return hint
    return Enum(name, {choice: choice for choice in get_args(hint)}, type=str)


def _with_trainer_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command one option for each field of `TrainConfig`, which is where they are declared and explained."""
    hints = get_type_hints(TrainConfig)
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
    added = []
    for f in fields(TrainConfig):
        hint = _choices(f.name, hints[f.name])
        default = hint(f.default) if isinstance(hint, type) and issubclass(hint, Enum) else f.default
        declared = typer.Option(flag(f.name), help=_sentence(f.metadata["help"]))
        added.append(
            inspect.Parameter(
                f.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, declared]
            )
        )
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + added

    def run(**options: Any) -> None:
        command(**options)

    run.__doc__ = command.__doc__
    run.__name__ = "train"
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


train = _with_trainer_options(train_command)
