"""The exceptions of topokit: one base class, one subclass for each thing a user can mend.

Every message says what is wrong, where, and what would be right. The command line prints the message alone, so it
has to be complete without a traceback.
"""

__all__ = ["CheckError", "ConvergenceError", "GraphError", "InputError", "ScheduleError", "TopokitError"]


class TopokitError(Exception):
    """Base class of all errors that a user of topokit can mend."""


class InputError(TopokitError, ValueError):
    """An argument or an option has a value that cannot be used."""


class GraphError(InputError):
    """A graph cannot be built, read, or given weights: it does not exist for this size, is disconnected, and so on."""


class ScheduleError(InputError):
    """A mixing schedule is malformed, or does not keep what it claims."""


class CheckError(TopokitError):
    """A property that the user asked for (``--require``, ``--min-gap``, ``--max-contraction``) does not hold."""


class ConvergenceError(TopokitError):
    """An iterative eigensolver gave up; no number is better than a wrong one."""
