.PHONY: run test check fmt

run:
	cargo run --release

test:
	cargo test --workspace

check:
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt:
	cargo fmt
