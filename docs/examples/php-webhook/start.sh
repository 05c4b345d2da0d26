#!/usr/bin/env bash
# Starts a gateway and its backend; Ctrl-C ends both. GATEWAY_BIN names the gateway if it is not on the path.
cd "$(dirname "$0")" || exit
# Each is a process group of its own: PHP's workers do not end with PHP.
set -m
trap 'for job in $(jobs -p); do kill -- "-$job" 2>/dev/null; done' EXIT
trap exit INT TERM
# Only these two know the secret.
BACKEND_SECRET=$(head -c 24 /dev/urandom | base64)
export BACKEND_SECRET GATEWAY_BACKEND_SECRET=$BACKEND_SECRET
echo "the page is at http://localhost:${PORT:-8000}/?name=ann"
PHP_CLI_SERVER_WORKERS=4 php -S "127.0.0.1:${PORT:-8000}" index.php &
"${GATEWAY_BIN:-gateway}" &
wait -n
