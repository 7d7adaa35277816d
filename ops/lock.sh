#!/bin/sh
# Renews both lock files from pyproject.toml. Needs `uv` (PyPI). Read the difference before you commit it.
set -eu
cd "$(dirname "$0")/.."
lock() { uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header "$@" >/dev/null; }
lock --extra build -o requirements.lock
lock --extra build --extra test -c requirements.lock -o requirements-test.lock
