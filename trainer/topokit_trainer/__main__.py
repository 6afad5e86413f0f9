"""Run one rank: ``python -m topokit_trainer``, usually under torchrun."""

import os
import sys

from topokit_trainer.launch import main

# PyTorch, which is not imported yet, would warn of every wait in the store that ends without word; ranks without work
# wait long.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
status = main()
sys.stdout.flush()
sys.stderr.flush()
# Not `sys.exit`: everything is on disk, and during the interpreter's shutdown a thread of PyTorch that still wants it
# can abort the process, which would make a finished run look failed.
os._exit(status)
