"""Writes .env for docker-compose.yml, with fresh secrets: `python3 ops/compose/make_env.py [FILE]`.

Refuses to replace a file: PostgreSQL keeps the password that it was first started with.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path

EXAMPLE = Path(__file__).with_name("env.example")
SECRET_BYTES = 24


def main(target: Path) -> None:
    """Write the file, readable by its owner only. Raises FileExistsError."""
    text = re.sub(r"=<generated>$", lambda _: f"={secrets.token_hex(SECRET_BYTES)}", EXAMPLE.read_text(), flags=re.M)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


if __name__ == "__main__":
    wanted = Path(sys.argv[1]) if sys.argv[1:] else EXAMPLE.parents[2] / ".env"
    try:
        main(wanted)
    except FileExistsError:
        sys.exit(f"{wanted} exists already, and its passwords are in use: nothing was written")
    print(f"{wanted} written")
