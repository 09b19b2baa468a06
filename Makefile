# make          what there is to make
# make demo     a real blue-green release on a real two-node Kubernetes, watched
# make test     everything that proves it: unit, property, chart, docs and end-to-end tests
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# cargo and go use all cores by themselves, and what is measured on a cluster must not share them with a build.
.NOTPARALLEL:

HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# Static binaries, so that an image is one file. With an explicit target the flag does not reach proc macros, which can't be static.
export CARGO_BUILD_TARGET := $(HOST)
export CARGO_TARGET_$(shell echo '$(HOST)' | tr 'a-z-' 'A-Z_')_RUSTFLAGS := -C target-feature=+crt-static
BIN := $(abspath $(or $(CARGO_TARGET_DIR),target))/$(HOST)/release
CLUSTER ?= embedded
SEEDS ?= 2400
ROUNDS ?= 1
FROM ?= 1
IMAGE ?= localhost/bluegreen-operator:0.1.0

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: needs
needs: # what is missing is named in one sentence; Debian packages are installed when root
	@command -v cargo >/dev/null || { echo "Rust 1.89 or later is missing: install it from https://rustup.rs"; exit 1; }
	@if [ "$(CLUSTER)" = embedded ]; then \
	  [ "$$(uname -s)" = Linux ] || { echo "the embedded cluster needs Linux; use CLUSTER=kind or CLUSTER=current"; exit 1; }; \
	  [ "$$(id -u)" = 0 ] || { echo "the embedded cluster needs root: run sudo -E make $(MAKECMDGOALS), or use CLUSTER=kind or CLUSTER=current"; exit 1; }; \
	  command -v go >/dev/null || { echo "Go 1.26 or later is missing: install it from https://go.dev/dl, or use CLUSTER=kind or CLUSTER=current"; exit 1; }; \
	  if command -v dpkg-query >/dev/null; then sh tests/cluster/install-dependencies.sh; fi; \
	fi

.PHONY: build
build: ## the operator, the sample app, and the programs of the tests
	@echo "building the operator and the test programs"
	@cargo build --release --workspace --exclude simulation --locked

.PHONY: cluster
cluster: needs # all programs, and Kubernetes itself; later only what changed
	@CLUSTER=$(CLUSTER) BIN=$(BIN) tests/build all

.PHONY: demo
demo: needs ## a real release on a real two-node Kubernetes, with a live timeline (CLUSTER=embedded, kind or current)
	@CLUSTER=$(CLUSTER) BIN=$(BIN) tests/build demo
	@CLUSTER=$(CLUSTER) $(BIN)/demo

.PHONY: demo-down
demo-down: ## removes what make demo left running
	@[ -x $(BIN)/cluster ] || $(MAKE) build
	@$(BIN)/cluster down --name demo

.PHONY: test
test: cluster lint unit chart docs side-by-side e2e ## everything: unit, property, chart, docs, the cluster itself, end to end
	@$(BIN)/cluster leftovers chart-check selfcheck e2e

.PHONY: lint
lint: ## format, clippy
	@cargo fmt --all --check
	@tests/simulation/mutations/check --applies
	@cargo clippy --release --workspace --all-targets --locked -- --deny warnings

.PHONY: check
check: lint ## lint; licences, sources and duplicates of dependencies (cargo-deny is built once where it is missing: some minutes)
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
	@cargo deny --locked check bans licenses sources

.PHONY: advisories
advisories: ## known holes in dependencies, by the list that cargo-deny fetches
	@cargo deny --locked check advisories

.PHONY: unit
unit: ## unit and property tests
	@cargo test --release --workspace --locked

.PHONY: simulate
simulate: ## releases in a simulated world with faults, as many as one likes: SEEDS=100000 FROM=1
	@cargo run --release --locked --quiet -p simulation -- --seeds $(SEEDS) --from $(FROM)

.PHONY: mutations
mutations: ## mistakes put into the operator, each of which the simulation must find
	@tests/simulation/mutations/check

.PHONY: chart
chart: cluster ## the chart, without a running cluster: lint, snapshots, drift of the CRDs
	@PATH="$$($(BIN)/cluster tools):$$PATH" BLUEGREEN=$(BIN)/bluegreen tests/chart/check

.PHONY: chart-install
chart-install: cluster ## the chart on a real cluster: rights, upgrade, rollback, uninstall, namespaces
	@PROGRAMS=$(BIN) tests/chart/install-check

.PHONY: rights
rights: cluster ## each right of the controller taken away on a real cluster: what is refused is told, and what is given back is enough
	@PROGRAMS=$(BIN) tests/chart/rights-check

.PHONY: cluster-check
cluster-check: cluster ## the embedded cluster itself: two side by side, faults, starts that are killed, nothing left behind
	@$(BIN)/cluster selfcheck

.PHONY: side-by-side
side-by-side: cluster # chart-install and cluster-check, which mostly wait, at the same time; the first one's output comes when it has ended
	@said=$$(mktemp); trap 'kill $$chart 2>/dev/null || true; wait; rm -f "$$said"' EXIT; \
	PROGRAMS=$(BIN) tests/chart/install-check >"$$said" 2>&1 & chart=$$!; \
	$(BIN)/cluster selfcheck; \
	if wait $$chart; then chart=; cat "$$said"; else chart=; cat "$$said"; exit 1; fi

.PHONY: docs
docs: build ## whether the generated parts of the docs are up to date
	@$(BIN)/api-docs --check

.PHONY: e2e
e2e: cluster ## end-to-end tests on real clusters; CASES="name ..." for some
	@$(BIN)/e2e $(CASES)

.PHONY: faults
faults: cluster ## every fault in every phase of a release on a real cluster, under load: ROUNDS=3 FROM=1 CASES="etcd /drain"
	@$(BIN)/e2e --faults $(ROUNDS) --from $(FROM) $(CASES)

.PHONY: bench
bench: cluster ## the figures of docs/benchmarks.md
	@$(BIN)/bench

.PHONY: generate
generate: build ## writes everything generated anew: CRDs, API reference, the simulation's stories
	@$(BIN)/bluegreen crd --directory crds
	@$(BIN)/bluegreen crd --directory charts/bluegreen-operator/files/crds
	@$(BIN)/api-docs
	@cargo run --release --locked --quiet -p simulation -- --stories tests/simulation/stories

.PHONY: image
image: build ## the operator's image as a docker archive: target/bluegreen-operator.tar (IMAGE=name:tag)
	@$(BIN)/cluster image --out target/bluegreen-operator.tar --tag $(IMAGE) --user 64320:64320 --file $(BIN)/bluegreen=/bluegreen --entrypoint /bluegreen
	@echo "target/bluegreen-operator.tar holds $(IMAGE)"

.PHONY: clean-clusters
clean-clusters: build ## removes every embedded cluster of this machine
	@$(BIN)/cluster down --all
