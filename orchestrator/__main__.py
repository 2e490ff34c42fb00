"""``python -m orchestrator``: the ``greenctl`` command without an installed script."""

from orchestrator.cli.app import main

if __name__ == "__main__":
    main()
