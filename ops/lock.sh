#!/bin/sh
# Renews both lock files from pyproject.toml. Needs `uv` (PyPI). Read the difference before you commit it.
# The tests' lock comes first and constrains the other, so that what is tested is what is deployed.
# Extras stay in the lock: pip with hashes takes a newer `coverage[toml]` for an unpinned package otherwise.
set -eu
cd "$(dirname "$0")/.."
lock() { uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-strip-extras "$@" >/dev/null; }
lock --upgrade --extra build --extra test -o requirements-test.lock
lock --upgrade --extra build -c requirements-test.lock -o requirements.lock
