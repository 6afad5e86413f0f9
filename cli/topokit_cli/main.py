"""The application: which commands there are, and what becomes of an exception."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from topokit_cli.active_nodes import active_nodes
from topokit_cli.analyze import analyze
from topokit_cli.compare import compare
from topokit_cli.compare_runs import compare_runs
from topokit_cli.design import design
from topokit_cli.export import export
from topokit_cli.failures import BAD_INPUT, INTERRUPTED, USAGE, explain
from topokit_cli.listing import list_names
from topokit_cli.measure import measure
from topokit_cli.output import out
from topokit_cli.plot import plot
from topokit_cli.train import train

__all__ = ["app", "main"]

app = typer.Typer(
    name="topokit",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

# In the order of a user's journey, which is the order of the help.
app.command("design")(design)
app.command("analyze")(analyze)
app.command("compare")(compare)
app.command("plot")(plot)
app.command("active-nodes")(active_nodes)
app.command("export")(export)
app.command("measure", short_help="Measure the network between ranks.")(measure)
app.command("train", short_help="Train along a mixing schedule.")(train)
app.command("compare-runs", short_help="Show training runs side by side.")(compare_runs)
app.command("list")(list_names)


def _print_version(wanted: bool) -> None:
    if wanted:
        from topokit import __version__

        out.text(f"topokit {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only, no notes.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Design, prove and analyse the communication topologies of decentralized deep learning, and train with them.

    \b
    Examples:
      topokit design --nodes 16 -o schedule.json
      topokit analyze schedule.json --require exact
      topokit compare ring torus one-peer-exponential --nodes 64
      topokit design --topology hypercube --nodes 16 -o - | topokit analyze -

    Results go to standard output, notes to standard error; - stands for standard input or output.

    \b
    Exit status:
      0    done
      1    bad input, or an expected failure
      2    wrong usage
      3    a check that was asked for does not hold
      130  interrupted
    """
    out.quiet = quiet
    if context.invoked_subcommand is None:
        sys.stderr.write(context.get_help() + "\n")
        raise typer.Exit(USAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the application and return its exit status.

    Examples
    --------
    >>> main(["--version"])  # doctest: +ELLIPSIS
    topokit ...
    0
    """
    try:
        status = app(arguments, prog_name="topokit", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        status = BAD_INPUT  # the reader has left, as `head` does: nothing to say
        _discard_output()
    except Exception as error:
        explanation = explain(error)
        if explanation is None:
            raise
        status, message = explanation
        out.error(message)
        if isinstance(error, OSError):
            _discard_output()
    if status == INTERRUPTED:
        out.error("interrupted")
    return status or 0


def _discard_output() -> None:
    """Leave nothing in the buffer that could not be written: the interpreter would try, and complain, at its exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
