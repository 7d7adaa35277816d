#!/bin/sh
# Renews the peers' lock file. Needs `uv` (PyPI). Read the difference before you commit it.
set -eu
cd "$(dirname "$0")"
uv pip compile requirements.in --override overrides.txt --universal --python-version 3.11 --generate-hashes \
  --no-annotate --no-header --no-strip-extras --upgrade -o requirements.lock >/dev/null
