# The commands of the project, each a thin call of the tool behind it.

# Seconds for which each fuzz target runs.
FUZZ_SECONDS ?= 60

.PHONY: help run test fast check fmt build unit autobahn clients loadtest cluster examples redis redis-all deploy-check deploy-write deploy-image-steps fuzz bench

help: ## What the targets do
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 22

run: ## Starts a node with the demo page
	cargo run --release

# Everything that CI runs. It installs what the tests need and says what it cannot install.
test: check unit autobahn clients loadtest redis cluster examples deploy-check ## Everything that CI runs

# Unit tests are those that stand in the files that they test, and the protocol's own.
fast: check ## Format, lints, rooms and unit tests
	cargo test --workspace --lib
	cargo test --workspace --test configuration

check: ## Format, lints, licences, rooms
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	.ci/cargo-deny.sh
	.ci/protocol-is-pure.sh
	python3 .ci/rooms/check_test.py
	python3 .ci/rooms/check.py

# All programs and tests, once and with one set of features: a package built alone has others, and builds what it depends on again.
build: ## All programs and tests
	cargo build --workspace --bins --tests --examples

unit: build ## The tests of all crates
	cargo test --workspace

autobahn: ## Autobahn's tests of WebSocket
	python3 gateway/tests/autobahn/run.py

clients: build ## Official clients, beside Node
	GATEWAY_BIN=target/debug/gateway \
	CONFORMANCE_BIN=target/debug/examples/conformance \
	CLIENT_SUITE_BIN=target/debug/examples/client_suite \
	node gateway/tests/clients/run.mjs

# The load generator's counts against those of official clients and servers. LOADTEST_FULL=1 also runs all scenarios against the peers.
loadtest: build ## The load generator's counts
	loadtest/tests/peers.sh

# The examples of docs/examples, and tokens, backends and the HTTP API with other people's libraries.
examples: build ## Examples, tokens and backends with other libraries
	GATEWAY_BIN=target/debug/gateway node docs/examples/run.mjs

# Nodes on a Redis of their own, beside Node's servers and emitters. CLUSTER_FULL=1 makes outages as long as they are meant to be.
cluster: build ## Nodes over Redis, beside Node
	GATEWAY_BIN=target/debug/gateway \
	CLUSTER_NODE_BIN=target/debug/examples/cluster_node \
	node gateway/tests/cluster/run.mjs

# The Redis wire against real Redis servers and Node servers. Outages and clusters of Redis take minutes; make cluster tries them with
# whole nodes, and redis-all with the wire alone.
redis: ## The bytes on Redis
	node adapter-redis/tests/node/install.mjs
	cargo test --workspace --test redis -- --include-ignored --skip measure:: --skip outage:: --skip clusters:: --test-threads=2

redis-all:
	node adapter-redis/tests/node/install.mjs
	cargo test --workspace --test redis -- --include-ignored --skip measure:: --test-threads=2

# What is in deploy/ against the tools that read it (kubectl, nginx, HAProxy, Prometheus, hadolint) and the program.
deploy-check: build ## What is in deploy/
	python3 deploy/tests/run.py

# The files in deploy/ that are made from others.
deploy-write:
	python3 deploy/tests/generated.py

# The steps of deploy/Dockerfile without Docker: a release build, and a start as the image would start it; needs root.
deploy-image-steps:
	python3 deploy/tests/image_steps.py

fmt:
	cargo fmt

# Needs a nightly toolchain and cargo-fuzz (cargo install cargo-fuzz --locked).
fuzz: ## Fuzz targets, FUZZ_SECONDS each
	cd protocol && for target in packet payload attachments frames; do \
		cargo +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; done
	cd adapter-redis && cargo +nightly fuzz run redis_message -- -max_total_time=$(FUZZ_SECONDS)

bench: ## Benches of the codec, of frames and of broadcasts
	cargo bench --workspace --bench codec --bench websocket --bench broadcast
