"""Run one rank: ``python -m topokit_trainer``, usually under torchrun."""

from topokit_trainer.launch import main

raise SystemExit(main())
