#!/bin/sh
# Builds the program as packages and the image have it: dist.sh TARGET [CARGO-ARGUMENT...], in the root of the sources.
#
# The program is static: nothing of the final system is used. The target is named, so that the flags do not count for what runs during
# the build. Paths of this machine do not get into the program: the same sources and tools make the same bytes. If cargo-auditable is
# installed, the program also tells which libraries it holds.
set -eu
target="$1"
shift
here="$(pwd)"
home="${CARGO_HOME:-$HOME/.cargo}"
built="${CARGO_TARGET_DIR:-target}"
case "$built" in /*) ;; *) built="$here/$built" ;; esac
sysroot="$(rustc --print sysroot)"

# Scripts that build C split their flags at spaces; Rust's flags are apart from each other by another character.
case "$built$home" in *" "*)
    echo "dist.sh: the folder of the target ($built) or of cargo ($home) has a space: set CARGO_TARGET_DIR or CARGO_HOME" >&2
    exit 2
    ;;
esac
CFLAGS="-ffile-prefix-map=$built=/target -ffile-prefix-map=$home=/cargo"

unit="$(printf '\037')"
flags="-Ctarget-feature=+crt-static"
# Of those that match, the last one counts.
for mapped in "$here=/src" "$built=/target" "$home=/cargo" "$sysroot=/rust"; do
    flags="$flags$unit--remap-path-prefix=$mapped"
done
case "$target" in
x86_64-unknown-linux-gnu)
    # Rust links by its own lld here. Functions of the same code become one, and addresses to correct at the start take bits, not words;
    # glibc 2.36 and later know these.
    flags="$flags$unit-Clink-arg=-Wl,--icf=all$unit-Clink-arg=-Wl,-z,pack-relative-relocs"
    ;;
esac
export CARGO_ENCODED_RUSTFLAGS="$flags" CFLAGS

case "$target" in
"$(rustc -vV | sed -n 's/^host: //p')") ;;
aarch64-unknown-linux-gnu)
    # Debian's cross compiler. Kernels for this processor have pages of 4, 16 or 64 KiB; jemalloc takes those up to what it is built for.
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc JEMALLOC_SYS_WITH_LG_PAGE=16
    ;;
esac

if cargo auditable --version >/dev/null 2>&1; then auditable=auditable; else auditable=; fi
cargo $auditable build --profile dist --features dist --locked --package gateway --bin gateway --target "$target" "$@"
