#!/usr/bin/env bash
# Starts a gateway and the page; Ctrl-C ends both. GATEWAY_BIN names the gateway if it is not on the path.
cd "$(dirname "$0")" || exit
trap 'kill $(jobs -p) 2>/dev/null' EXIT
trap exit INT TERM
"${GATEWAY_BIN:-gateway}" &
node serve.mjs &
wait -n
