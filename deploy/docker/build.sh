#!/bin/sh
# Builds what the image holds into the folder IMAGE: build.sh IMAGE, in the root of the sources.
#
# The program is static: nothing of the final image's system is used. The target is named, so that
# the flag does not count for what runs during the build.
set -eu
image="$1"
flags='-C target-feature=+crt-static'
target="$(rustc -vV | sed -n 's/^host: //p')"
built="${CARGO_TARGET_DIR:-target}/$target/release"

RUSTFLAGS="$flags" cargo build --release --locked --package gateway --bin gateway --target "$target"

mkdir -p "$image/etc/ssl/certs"
objcopy --strip-debug "$built/gateway" "$image/gateway"
# For TLS to Redis, a backend and a publisher of keys.
cp /etc/ssl/certs/ca-certificates.crt "$image/etc/ssl/certs/"
echo 'gateway:x:65532:65532::/:/nonexistent' > "$image/etc/passwd"
echo 'gateway:x:65532:' > "$image/etc/group"
