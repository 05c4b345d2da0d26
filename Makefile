# The commands of the project, each a thin call of the tool behind it.

# Seconds for which each fuzz target runs.
FUZZ_SECONDS ?= 60

# The suites of clients, cluster, examples and deploy-check that run, all if it is empty: make clients SUITES="races tls".
SUITES ?=

# The programs under test.
DEBUG := $(or $(CARGO_TARGET_DIR),target)/debug
clients webtransport loadtest cluster examples deploy-check: export GATEWAY_BIN ?= $(DEBUG)/gateway
loadtest deploy-check: export LOADTEST_BIN ?= $(DEBUG)/loadtest
examples: export EXAMPLES_BIN ?= $(DEBUG)/examples
clients: export CONFORMANCE_BIN ?= $(DEBUG)/examples/conformance
clients: export CLIENT_SUITE_BIN ?= $(DEBUG)/examples/client_suite
cluster: export CLUSTER_NODE_BIN ?= $(DEBUG)/examples/cluster_node

# What tests are built with. A build with other features would be another one of nearly everything.
FEATURES := --features gateway/webtransport

# Tests read what programs print, so nothing asks them for colours.
unexport FORCE_COLOR CLICOLOR_FORCE

.PHONY: help run test fast install check fmt build unit autobahn clients webtransport loadtest cluster examples redis redis-all \
	deploy-check deploy-write deploy-image-steps dist package package-check package-machine image docs fuzz bench simulate

help: ## What the targets do
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 22

run: ## Starts a node with the demo page
	cargo run --release

# Everything that CI runs, at the same time as far as it does not disturb each other. It installs what the tests need and says what it
# cannot install. Names, such as make test ONLY="cluster redis", leave the others out.
test: ## Everything that CI runs
	python3 .ci/suites.py $(ONLY)

# Unit tests are those that stand in the files that they test, and the protocol's own.
fast: check ## Format, lints, rooms and unit tests
	cargo test --workspace $(FEATURES) --lib
	cargo test --workspace $(FEATURES) --test configuration

check: ## Format, lints, links of rustdoc, licences, rooms, names, prose
	cargo fmt --check
	cargo clippy --workspace $(FEATURES) --all-targets -- -D warnings
	cargo clippy --workspace --lib --bins -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace $(FEATURES) --no-deps
	.ci/cargo-deny.sh
	.ci/protocol-is-pure.sh
	node --test testkit/js
	python3 .ci/suites_test.py
	python3 .ci/rooms/check_test.py
	python3 .ci/rooms/check.py
	python3 .ci/names/check_test.py
	python3 .ci/names/check.py
	python3 .ci/prose/check_test.py
	python3 .ci/prose/check.py

# All programs and tests, once and with one set of features: a package built alone has others, and builds what it depends on again.
# BUILT=1 says that it was done.
build: ## All programs and tests
	$(if $(BUILT),@true,cargo build --workspace $(FEATURES) --bins --tests --examples)

# What the tests need of other people's programs and libraries; each suite also installs its own.
install: ## What the tests need
	INSTALL_ONLY=1 .ci/cargo-deny.sh
	INSTALL_ONLY=1 node gateway/tests/cluster/run.mjs
	INSTALL_ONLY=1 node gateway/tests/clients/run.mjs
	node adapter-redis/tests/node/install.mjs
	INSTALL_ONLY=1 loadtest/tests/peers.sh
	INSTALL_ONLY=1 node docs/examples/run.mjs
	INSTALL_ONLY=1 python3 deploy/tests/run.py
	INSTALL_ONLY=1 python3 gateway/tests/autobahn/run.py
	INSTALL_ONLY=1 python3 docs/site/build.py

# Tests of a node mostly wait: twice as many as there are cores go at once.
unit: build ## The tests of all crates
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((2 * $$(getconf _NPROCESSORS_ONLN)))} cargo test --workspace $(FEATURES)

# For about two minutes of one core by default, in a profile of its own that optimises and keeps all checks.
simulate: SEEDS := $(or $(SEEDS),1+5000)
simulate: ## Recovery, simulated with many seeds: SEEDS=FIRST+COUNT
	SIMULATOR_SEEDS=$(SEEDS) cargo test --profile simulate -p simulator

autobahn: build ## Autobahn's tests of WebSocket
	python3 gateway/tests/autobahn/run.py

clients: build ## Official clients, beside Node
	node gateway/tests/clients/run.mjs $(SUITES)

webtransport: build ## Chromium over WebTransport
	node gateway/tests/clients/run.mjs webtransport

# The load generator's counts against those of official clients and servers. LOADTEST_FULL=1 also runs all scenarios against the peers.
loadtest: build ## The load generator's counts
	loadtest/tests/peers.sh

# The examples of docs/examples, and tokens, backends and the HTTP API with other people's libraries.
examples: build ## Examples, tokens and backends with other libraries
	node docs/examples/run.mjs $(SUITES)

# Nodes on a Redis of their own, beside Node's servers and emitters. CLUSTER_FULL=1 makes outages as long as they are meant to be.
cluster: build ## Nodes over Redis, beside Node
	node gateway/tests/cluster/run.mjs $(SUITES)

# The Redis wire against real Redis servers and Node servers. Outages and clusters of Redis take minutes; make cluster tries them with
# whole nodes, and redis-all with the wire alone.
redis: build ## The bytes on Redis
	node adapter-redis/tests/node/install.mjs
	cargo test --workspace $(FEATURES) --test redis -- --include-ignored --skip measure:: --skip outage:: --skip clusters:: --test-threads=2

redis-all: build
	node adapter-redis/tests/node/install.mjs
	cargo test --workspace $(FEATURES) --test redis -- --include-ignored --skip measure:: --test-threads=2

# What is in deploy/ against the tools that read it (kubectl, Helm, five proxies, Prometheus, hadolint) and the program.
deploy-check: build ## What is in deploy/
	python3 deploy/tests/run.py $(SUITES)

# The files in deploy/ that are made from others.
deploy-write:
	INSTALL_ONLY=1 python3 deploy/tests/run.py
	target/deploy/venv/bin/python deploy/tests/generated.py

# The steps of deploy/Dockerfile without Docker: a build of the profile dist, and a start as the image would start it; needs root.
deploy-image-steps:
	python3 deploy/tests/image_steps.py

# Slower to build than a release, and some percent faster: docs/packages.md.
dist: export GATEWAY_COMMIT ?= $(shell git rev-parse HEAD)
dist: export GATEWAY_COMMIT_DATE ?= $(shell git log -1 --format=%cs)
dist: ## The programs as benchmarks and packages have them, in target/dist
	cargo build --profile dist --features gateway/dist --workspace --bins

# A static program with its manual, completions, licences and unit, as a tar and as a Debian package, in target/package.
package: ## Packages for Linux
	python3 deploy/package/package.py

# What only the packages themselves show; `make deploy-check` tries everything else with the debug program. It needs lintian, and builds
# the program with the profile dist.
package-check: package ## Packages: lintian, size, TLS of the profile dist
	python3 deploy/package/check.py

# As root, with mmdebstrap: a machine of Debian's base with systemd, in namespaces of its own. The packages are those of `make package`.
package-machine: ## Packages: on a machine with only Debian's base
	python3 deploy/package/machine.py check
	python3 deploy/package/machine.py measure

image: ## The image, with Docker
	deploy/docker/image.sh

# The pages of docs/ as a site with search, in target/site/html; its links are checked.
docs: ## The pages as a site
	python3 docs/site/build_test.py
	python3 docs/site/build.py

fmt:
	cargo fmt

# Needs a nightly toolchain and cargo-fuzz (cargo install cargo-fuzz --locked).
fuzz: ## Fuzz targets, FUZZ_SECONDS each
	cd protocol && for target in packet payload old_payload msgpack attachments frames; do \
		cargo +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; done
	cd adapter-redis && cargo +nightly fuzz run redis_message -- -max_total_time=$(FUZZ_SECONDS)

bench: ## Benches of the codec, of frames and of broadcasts
	cargo bench --profile dist --workspace --bench codec --bench websocket --bench broadcast
