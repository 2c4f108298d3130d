#!/usr/bin/env bash
# One GPU measured in nine minutes, from a machine whose python3 has jax (with its GPU plugin), flax, optax, orbax and pytest:
#
#     benchmarks/gpu.sh --json gpu.json --data ml-1m.txt
#
# Where packages cannot be fetched there, bring the others as wheels in wheels/ (or $WHEELS). Made elsewhere by
#
#     pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
#         --platform manylinux2014_x86_64 -d wheels polars polars-runtime-32 tyro tqdm docstring-parser typeguard shtab beartype \
#         jaxtyping hypothesis pytest-xdist execnet
set -euo pipefail
cd "$(dirname "$0")/.."
wheels=${WHEELS:-wheels}
if [ -d "$wheels" ]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$wheels"/*.whl
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
python3 benchmarks/gpu.py "$@"
