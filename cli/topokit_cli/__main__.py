from topokit_cli.main import main  # noqa: D100

raise SystemExit(main())
