# The commands of the project, each a thin call of the tool behind it.

# Seconds for which each fuzz target runs.
FUZZ_SECONDS ?= 60

.PHONY: run test check fmt build unit autobahn peers loadtest cluster examples redis redis-all deploy-check deploy-write deploy-image-steps fuzz bench

run:
	cargo run --release

# Everything that CI runs. It installs what the tests need and says what it cannot install.
test: check unit autobahn peers loadtest redis cluster examples deploy-check

check:
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	.ci/cargo-deny.sh
	.ci/protocol-is-pure.sh

# All programs and tests, once and with one set of features: a package built alone has others, and builds what it depends on again.
build:
	cargo build --workspace --bins --tests --examples

unit: build
	cargo test --workspace

autobahn:
	python3 gateway/tests/autobahn/run.py

peers: build
	GATEWAY_BIN=target/debug/gateway \
	CONFORMANCE_BIN=target/debug/examples/conformance \
	CLIENT_SUITE_BIN=target/debug/examples/client_suite \
	node gateway/tests/peers/run.mjs

# The load generator's counts against those of official clients and servers. LOADTEST_FULL=1 also runs all scenarios against the peers.
loadtest: build
	loadtest/tests/peers.sh

# The examples of docs/examples, and tokens, backends and the HTTP API with other people's libraries.
examples: build
	GATEWAY_BIN=target/debug/gateway node docs/examples/run.mjs

# Nodes on a Redis of their own, beside Node's servers and emitters. CLUSTER_FULL=1 makes outages as long as they are meant to be.
cluster: build
	GATEWAY_BIN=target/debug/gateway \
	CLUSTER_NODE_BIN=target/debug/examples/cluster_node \
	node gateway/tests/cluster/run.mjs

# The Redis wire against real Redis servers and Node servers. Outages and clusters of Redis take minutes; make cluster tries them with
# whole nodes, and redis-all with the wire alone.
redis:
	node adapter-redis/tests/node/install.mjs
	cargo test --workspace --test redis -- --include-ignored --skip measure:: --skip outage:: --skip clusters:: --test-threads=2

redis-all:
	node adapter-redis/tests/node/install.mjs
	cargo test --workspace --test redis -- --include-ignored --skip measure:: --test-threads=2

# What is in deploy/ against the tools that read it (kubectl, nginx, HAProxy, Prometheus, hadolint) and the program.
deploy-check: build
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
fuzz:
	cd protocol && for target in packet payload attachments; do \
		cargo +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; done
	cd gateway && cargo +nightly fuzz run frames -- -max_total_time=$(FUZZ_SECONDS)
	cd adapter-redis && cargo +nightly fuzz run redis_message -- -max_total_time=$(FUZZ_SECONDS)

bench:
	cargo bench --workspace --bench codec --bench broadcast
