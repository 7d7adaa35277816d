"""`python -m producer`: the `imagejobs` command."""

from __future__ import annotations

from producer.cli import main

if __name__ == "__main__":
    main()
