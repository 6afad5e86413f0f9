"""The ``topokit`` command: one file per command, one output sink, one map from errors to messages."""
