#!/bin/sh
# The protocol, and what nodes say to each other, have no I/O: nothing that they depend on is a runtime. Recovery has no clock either.
set -eu
for crate in protocol adapter; do
    if cargo tree -p $crate --edges normal | grep -E 'tokio|mio|hyper'; then
        echo "$crate depends on a runtime, see above; it must stay pure" >&2
        exit 1
    fi
done
recovery=$(dirname "$0")/../adapter/src/recovery
for file in "$recovery".rs $(find "$recovery" -name '*.rs' ! -name tests.rs); do
    if sed '/^#\[cfg(test)\]/,$d' "$file" | grep -nE '::now\(\)|std::(net|fs|thread|process)|getrandom'; then
        echo "$file has a clock, I/O or randomness, see above; these are arguments" >&2
        exit 1
    fi
done
