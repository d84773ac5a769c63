# forestsync: the commands of its developers. `make` lists them.

CARGO ?= cargo
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help demo build test bench soak lint fmt deny schemas

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Run three practice forests, a practice tenant and the pipeline, and verify the result
	$(CARGO) run --locked --package forestsync -- demo

build: ## Build everything
	$(CARGO) build --locked --workspace --all-targets

test: ## Run every test; starts the real peers it needs and says which ones ran
	./tests/run

bench: ## Measure the floors for speed, as ratios within one run
	$(CARGO) build --locked --release --workspace --bins
	KAFKA_JVM_OPTIONS= $${CARGO_TARGET_DIR:-target}/release/bench

soak: ## Run the long random suites in full
	FORESTSYNC_SOAK=1 ./tests/run

lint: ## Check format and lints; CI does so with TLS towards Kafka and Kerberos too
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

fmt: ## Format the code
	$(CARGO) fmt --all

deny: ## Check advisories, licences and sources of the dependencies (needs cargo-deny)
	$(CARGO) deny --locked check

schemas: ## Write the JSON Schemas and golden samples of new events
	FORESTSYNC_BLESS=1 $(CARGO) test --locked --package forestsync-schemas
