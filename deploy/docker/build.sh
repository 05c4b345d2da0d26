#!/bin/sh
# Builds what the image holds into the folder IMAGE: build.sh IMAGE, in the root of the sources.
#
# The program tells which libraries it holds (cargo-auditable); beside it are the same as CycloneDX, for scanners, and their licences.
set -eu
image="$1"
target="$(rustc -vV | sed -n 's/^host: //p')"
built="${CARGO_TARGET_DIR:-target}/$target/dist"
tools="${CARGO_TARGET_DIR:-target}/tools"

if ! cargo auditable --version >/dev/null 2>&1 || ! command -v auditable2cdx >/dev/null; then
    cargo install --debug --locked --root "$tools" --target-dir "$tools/build" cargo-auditable@0.7.7 auditable2cdx@0.1.0
    PATH="$tools/bin:$PATH"
    case "$PATH" in /*) ;; *) PATH="$(pwd)/$PATH" ;; esac
    export PATH
fi
deploy/package/dist.sh "$target"

mkdir -p "$image/etc/ssl/certs" "$image/usr/share/doc/gateway"
# The list of libraries stays in the program.
objcopy --strip-all "$built/gateway" "$image/gateway"
auditable2cdx "$image/gateway" > "$image/usr/share/doc/gateway/gateway.cdx.json"
python3 deploy/package/licences.py "$target" > "$image/usr/share/doc/gateway/LICENCES.txt"
# For TLS to Redis, a backend and a publisher of keys.
cp /etc/ssl/certs/ca-certificates.crt "$image/etc/ssl/certs/"
echo 'gateway:x:65532:65532::/:/nonexistent' > "$image/etc/passwd"
echo 'gateway:x:65532:' > "$image/etc/group"
