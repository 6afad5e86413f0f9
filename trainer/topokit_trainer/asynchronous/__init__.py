"""Training without rounds: every node at its own pace, pairs averaging when both are free."""
