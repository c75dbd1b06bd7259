#!/bin/sh
# Makes .venv from requirements.lock, every package by its hash, and puts the project itself into it.
# Called by `make setup`; PYTHON may name the interpreter to use.
set -eu

enough='import sys; sys.exit(sys.version_info < (3, 11))'

say() {
    echo "setup: $*" >&2
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$candidate" -c "$enough" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    say "Python 3.11 or later is needed and was not found; install it, or name it: make setup PYTHON=/path/to/python3"
    exit 1
}

python=$(find_python)

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    say "$python cannot make virtual environments; install its venv module (on Debian and Ubuntu: apt install python3-venv)"
    exit 1
fi

# A venv whose Python is gone, or that was copied from elsewhere, is of no use: begin anew.
if ! .venv/bin/python -m pip --version >/dev/null 2>&1 || [ "$(.venv/bin/python -c 'import sys; print(sys.prefix)')" != "$(pwd -P)/.venv" ]; then
    say "making .venv with $python"
    "$python" -m venv --clear .venv
fi

say "installing the packages that requirements.lock names; this takes a minute or two"
# Without bytecode: Python makes it of what is used, when it is used, and that takes less time.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-compile --require-hashes -r requirements.lock
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation -e .
say "done: .venv/bin/cfm and .venv/bin/cfw"
