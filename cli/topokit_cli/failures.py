"""From an exception to the exit status and the one or two lines that a user reads."""

from __future__ import annotations

from topokit.errors import CheckError, TopokitError

__all__ = ["BAD_INPUT", "CHECK_FAILED", "INTERRUPTED", "USAGE", "explain"]

BAD_INPUT = 1
USAGE = 2
CHECK_FAILED = 3
INTERRUPTED = 130

EXTRAS = {"cvxpy": "sdp", "matplotlib": "plot", "numba": "train", "sklearn": "train", "torch": "train"}


def explain(error: BaseException) -> tuple[int, str] | None:
    """Give the exit status and the message of an error that a user can mend, None for a bug.

    Examples
    --------
    >>> from topokit.errors import InputError
    >>> explain(InputError("nodes must be at least 2, got 1"))
    (1, 'nodes must be at least 2, got 1')
    >>> explain(FileNotFoundError(2, "No such file or directory", "s.json"))
    (1, 's.json: No such file or directory')
    >>> explain(ZeroDivisionError()) is None
    True
    """
    if isinstance(error, CheckError):
        return CHECK_FAILED, str(error)
    if isinstance(error, TopokitError):
        return BAD_INPUT, str(error)
    if isinstance(error, OSError):
        place = "" if error.filename is None else f"{error.filename}: "
        return BAD_INPUT, f"{place}{error.strerror or error}"
    if isinstance(error, MemoryError):
        return BAD_INPUT, f"not enough memory{f': {error}' if str(error) else ''}; fewer nodes would do"
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        if package in EXTRAS:
            return BAD_INPUT, f"this needs {package}, which is not installed: pip install 'topokit[{EXTRAS[package]}]'"
    return _explain_usage(error)


def _explain_usage(error: BaseException) -> tuple[int, str] | None:
    # Known by what it offers, not by its class: Typer exports no base class of its usage errors that all the versions
    # in use share.
    format_message = getattr(error, "format_message", None)
    if format_message is None:
        return None
    context = getattr(error, "ctx", None)
    command = "topokit" if context is None else context.command_path
    message = " ".join(str(format_message()).replace("Value error, ", "").split())
    return getattr(error, "exit_code", USAGE), f"{message}\nsee: {command} --help"
