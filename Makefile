# Thin on purpose: every target is one or two commands that also work by hand.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := node_modules/.bin
INSTALLED := node_modules/.install-stamp
SIM_FLAGS = $(strip $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SEED_FROM),--seed-from $(SEED_FROM)) \
  $(if $(SEED),--seed $(SEED)) $(if $(CAUSAL),--causal $(CAUSAL)) \
  $(if $(SABOTAGE),--sabotage $(SABOTAGE)))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## A small cluster on this machine, shown at work (KEEP=1: leave it running)
	node dist/cli/demo-main.js $(if $(KEEP),--keep)

.PHONY: build
build: $(INSTALLED) ## Compile src to dist
	$(BIN)/tsc -b src

.PHONY: test
test: build ## All tests (TEST=pattern: only files whose path matches)
	NODE_OPTIONS='--experimental-vm-modules --disable-warning=ExperimentalWarning' \
	  $(BIN)/jest --maxWorkers=2 $(if $(TEST),'$(TEST)')

.PHONY: sim
sim: build ## Simulated clusters with faults (SEEDS=n SEED_FROM=n: a range; SEED=n: one; CAUSAL=n: causal clients too)
	node dist/sim/main.js $(SIM_FLAGS)

.PHONY: sim-nightly
sim-nightly: build ## Simulated clusters without end, from SEED_FROM on or a seed of the day; Ctrl-C ends it
	node dist/sim/main.js --endless --seed-from $(or $(SEED_FROM),$(shell date +%s))

.PHONY: sim-steps
sim-steps: build ## A crash at every step of a view change, enumerated, in each placement policy
	node dist/sim/main.js --steps

.PHONY: sim-sabotage
sim-sabotage: build ## Break each promise on purpose; every break must be caught within 2,000 seeds
	node dist/sim/main.js --sabotage all

.PHONY: chaos
chaos: build ## Real processes under faults, what clients saw is checked (CHAOS=pause, kill, setr, move or cut)
	set -e; for name in $(or $(CHAOS),pause kill setr move cut); do node dist/chaos/main.js $$name; done

.PHONY: bench
bench: build ## Measurements of real clusters (BENCH=commits, failover, join, leaderless, move, modes, load, caches, memory, rest, restart, scale, placement or profile)
	set -e; for name in $(or $(BENCH),failover join leaderless); do node dist/bench/main.js $$name; done

.PHONY: bench-peers
bench-peers: build ## Beside etcd, Redis and bare parts: writes docs/benchmarks.md (PEERS='--rounds 1': options)
	node dist/bench/peers/main.js $(PEERS)

.PHONY: check
check: $(INSTALLED) ## Format, lint, types, generated code up to date
	$(BIN)/prettier --check --log-level warn .
	$(BIN)/oxlint --deny-warnings
	$(BIN)/tsc -b
	$(BIN)/buf lint
	node scripts/generate.mjs --check

.PHONY: fix
fix: $(INSTALLED) ## Format, and repair what lint can repair
	$(BIN)/oxlint --fix; left=$$?; $(BIN)/prettier --write --log-level warn . && exit $$left

.PHONY: proto
proto: $(INSTALLED) ## Generate src/wire/gen from proto
	node scripts/generate.mjs

.PHONY: clean
clean: ## Remove what build and test made
	rm -rf dist coverage .cache .kvs-run

$(INSTALLED): package-lock.json | node-version
	npm ci --no-audit --no-fund
	@touch $@

.PHONY: node-version
node-version:
	@command -v node >/dev/null || { echo 'kvs needs Node.js 20.15 or newer; there is no node on PATH' >&2; exit 1; }
	@node -p process.versions.node | awk -F. '$$1 < 20 || ($$1 == 20 && $$2 < 15) { \
	  print "kvs needs Node.js 20.15 or newer; this is " $$0 > "/dev/stderr"; exit 1 }'
