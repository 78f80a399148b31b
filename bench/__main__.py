"""``python -m bench`` does the same as the ``bench`` command."""

from bench.cli.main import main

if __name__ == "__main__":
    main()
