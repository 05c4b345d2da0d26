#!/bin/sh
# Builds the image with Docker's buildx: image.sh [TAG], in the root of the sources.
#
# The base is pinned by the digest that its tag has now; the digest is printed, so that the same image can be built again with
# RUST_IMAGE=rust:..@sha256:.. in the environment. All times in the image are those of the commit.
set -eu
tag="${1:-gateway:$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)}"
base="$(sed -n 's/^ARG RUST_IMAGE=//p' deploy/Dockerfile)"
if [ -z "${RUST_IMAGE:-}" ]; then
    RUST_IMAGE="$base@$(docker buildx imagetools inspect "$base" --format '{{ .Manifest.Digest }}')"
fi
echo "base: $RUST_IMAGE"
SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)"
export SOURCE_DATE_EPOCH
docker buildx build --file deploy/Dockerfile --tag "$tag" --build-arg "RUST_IMAGE=$RUST_IMAGE" \
    --build-arg "GATEWAY_COMMIT=$(git rev-parse HEAD)" --build-arg "GATEWAY_COMMIT_DATE=$(git log -1 --format=%cs)" \
    --build-arg "GATEWAY_CREATED=$(git log -1 --format=%cI)" --provenance=mode=max --output type=docker,rewrite-timestamp=true .
