#!/bin/sh
# The protocol has no I/O: nothing that it depends on is a runtime.
set -eu
if cargo tree -p protocol --edges normal | grep -E 'tokio|mio|hyper'; then
    echo 'protocol depends on a runtime, see above; it must stay pure' >&2
    exit 1
fi
