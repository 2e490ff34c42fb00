# The recipes of greenctl.  `make` alone prints them.

PYTHON ?= python3
BIN := .venv/bin
# Extra words for pytest: make test PYTEST_ARGS="-k drain -x"
PYTEST_ARGS ?=
# Tests that only compute, or ask one thing that is theirs alone, share the cores.
PURE := tests/unit tests/property tests/golden tests/security tests/scenario tests/sim \
  $(filter-out %_process.py %_processes.py, \
    $(shell grep -LE 'mark\.(engine|ray|slurm)' tests/contract/test_*.py tests/integration/test_*.py))
# The others start processes by the dozen, listen and take time: two at a time, and those with Ray one after the other,
# because Ray takes seconds to start and gives up on a machine that is too busy.
WITH_RAY := $(filter-out tests/sky/%,$(shell grep -rlE 'mark\.ray' tests --include='test_*.py'))
# Measuring what the tests reach costs four fifths more time (930 s for 517 s): make coverage, or make test COVERAGE=1
COVERAGE ?=
COVER = $(if $(COVERAGE),COVERAGE_FILE=.coverage.part-$@ )$(BIN)/pytest $(if $(COVERAGE),--cov --cov-report=)
# With words of your own any part may have nothing to do, pytest's status 5.
MAYBE_NONE := $(if $(PYTEST_ARGS),|| [ $$? -eq 5 ])
# What `make demo` writes and reads, and extra words for it: make demo DEMO_JSON=out.json DEMO_ARGS=--short
DEMO_JSON ?=
CARBON_DATA ?=
DEMO_ARGS ?=
# make sim, crash and mutants: see their own lines
SEED ?=
SEEDS ?=
SEED0 ?=
DROP ?=
HOURS ?=
DATABASE ?=
JOBS ?=
EVERY ?=
POINTS ?=
ROUNDS ?=
PAIRS ?=
SECONDS ?=
ONLY ?=
# Extra words for the lab: make lab-up LAB_ARGS="--nodes 2"
LAB_ARGS ?=

# Through sudo another python3 may be found, which would make the user's environments anew, as root.
as-root = $(if $(SUDO_USER),env-there,$1)

.DEFAULT_GOAL := help
.PHONY: help env env-core env-engine lock fmt lint types imports test test-pure test-real test-ray test-rayless
.PHONY: test-fast test-sky busy-day coverage demo lab-up lab-down lab-status env-there
.PHONY: clean distclean sim crash bad-days mutants schedules model bounds verify error-paths kills

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: ## make .venv, and .venv-vllm where this machine can run vLLM
	@$(PYTHON) -m infra.env.setup all

env-engine: ## make .venv-vllm (vLLM for CPUs) alone, and fail where it cannot run
	@$(PYTHON) -m infra.env.setup engine

env-core: ## make .venv alone
	@$(PYTHON) -m infra.env.setup orchestrator

lock: ## re-create the hash-pinned requirement files
	infra/env/lock.sh

fmt: env-core ## format the code and apply the safe fixes
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lint: env-core ## check style and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: env-core ## check types, strictly
	$(BIN)/mypy

imports: env-core ## check the arrows between packages
	@$(BIN)/lint-imports

test: env lint types imports ## all checks and all tests; skips are said aloud (COVERAGE=1: with coverage)
	@$(MAKE) --no-print-directory test-pure
	@$(MAKE) --no-print-directory test-real
	$(if $(COVERAGE),$(BIN)/coverage combine -q .coverage.part-* && $(BIN)/coverage report)

coverage: ## make test, and which lines and branches of ours it reaches
	@$(MAKE) --no-print-directory test COVERAGE=1

test-pure: env ## the part of it that computes, on all cores
	$(COVER) -n auto $(PURE) $(PYTEST_ARGS) $(MAYBE_NONE)

test-real: env ## the part with real processes, PostgreSQL, Ray and vLLM, in two lanes
	@$(PYTHON) -m tests.lanes "real processes with Ray=$(MAKE) --no-print-directory test-ray" \
	  -- "real processes without Ray=$(MAKE) --no-print-directory test-rayless"

test-ray: env
	$(COVER) --durations=20 -m "not slurm" $(WITH_RAY) $(PYTEST_ARGS) $(MAYBE_NONE)

test-rayless: env
	$(COVER) --durations=20 -m "not slurm" $(PURE:%=--ignore=%) $(WITH_RAY:%=--ignore=%) $(PYTEST_ARGS) $(MAYBE_NONE)

test-fast: env-core ## the tests that need nothing but Python, in parallel
	$(BIN)/pytest -n auto -m "not engine and not postgres and not ray and not slurm" \
	  --ignore=tests/integration --ignore=tests/scenario --ignore=tests/e2e --ignore=tests/sky $(PYTEST_ARGS)

sim: env-core ## random bad days of the controller: make sim SEEDS=100 SEED0=0 JOBS=2, or SEED=7 to see one again
	@$(BIN)/python -m tests.sim sim $(if $(SEED),--seed $(SEED) --drop "$(DROP)",--seeds $(or $(SEEDS),20) --seed0 $(or $(SEED0),0)) \
	  --hours $(or $(HOURS),24) --database $(or $(DATABASE),memory) --seconds $(or $(SECONDS),inf) $(if $(JOBS),--jobs $(JOBS))

crash: env-core ## crash points of the controller, each in each mode: make crash SEEDS=1 EVERY=1 PAIRS=1, or POINTS=8 of each story
	@$(BIN)/python -m tests.sim crash --seeds $(or $(SEEDS),1) --seed0 $(or $(SEED0),0) --every $(or $(EVERY),1) \
	  --seconds $(or $(SECONDS),inf) $(if $(POINTS),--points $(POINTS)) $(if $(PAIRS),--pairs) $(if $(JOBS),--jobs $(JOBS))

bad-days: env-core ## what continuous integration lives through: 500 days, 2,640 crashes and 550 pairs, as far as there is time
	@$(MAKE) --no-print-directory sim SEEDS=500 SECONDS=240
	@$(MAKE) --no-print-directory crash SEEDS=10 POINTS=8 SECONDS=150
	@$(MAKE) --no-print-directory crash SEEDS=10 POINTS=5 PAIRS=1 SECONDS=90

schedules: env-core ## real processes and a real PostgreSQL under random faults: make schedules N=300 SEED0=0 JOBS=2
	@GREENCTL_TEST_SCHEDULES=$(or $(N),20) GREENCTL_TEST_SCHEDULE0=$(or $(SEED0),0) \
	  $(BIN)/pytest -q $(if $(JOBS),-n $(JOBS)) tests/processes

kills: env ## SIGKILL to everything on this machine while streams are open: make kills ROUNDS=20 SEED=0
	@$(BIN)/python -m tests.kills --rounds $(or $(ROUNDS),20) --seed $(or $(SEED),0)

busy-day: env ## a service on real vLLM under four times its load, for ten minutes or more: make busy-day SECONDS=600
	@GREENCTL_BURST_SECONDS=$(or $(SECONDS),600) GREENCTL_REQUIRE_ALL=1 $(BIN)/pytest tests/e2e/test_busy_day.py $(PYTEST_ARGS)

mutants: env-core ## known bugs put into our own code, one at a time: is each caught? (ONLY=B3 for one)
	@$(BIN)/python -m tests.sim mutants $(if $(ONLY),--only "$(ONLY)") --seed0 $(or $(SEED0),0)

model: env-core ## every order of events of turns, intents, machines and the reaper: make model NAMES=2 TURNS=2 BACKUPS=1 HOSTS=2
	@$(BIN)/python -m tests.sim model --names $(or $(NAMES),2) --turns $(or $(TURNS),2) $(if $(BACKUPS),--backups) \
	  $(if $(HOSTS),--hosts $(HOSTS)) --most $(or $(MOST),10000000)

bounds: env-core ## what plans are said to cost at least, against the optimum: make bounds WORLDS=10000 SEED0=0 JOBS=2
	@$(BIN)/python -m tests.bounds --worlds $(or $(WORLDS),1000) --seed0 $(or $(SEED0),0) --jobs $(or $(JOBS),1)

verify: env-core ## bad days, crash points and the model for a while, told in infra/reports/verify.md: make verify SECONDS=600
	@$(BIN)/python -m tests.sim verify --seconds $(or $(SECONDS),600) --seed0 $(or $(SEED0),0) --report infra/reports/verify.md

error-paths: env-core ## branch coverage of journal, controller and reaper by their own tests; below 95 % of any it fails
	@$(BIN)/python -m tests.error_paths $(PYTEST_ARGS)

demo: env ## a real fleet on this machine: deploy, balance, migrate, replace
	$(BIN)/python -m orchestrator.demo \
	  $(if $(DEMO_JSON),--json $(DEMO_JSON)) $(if $(CARBON_DATA),--carbon-data $(CARBON_DATA)) $(DEMO_ARGS)

env-there:
	@test -x $(BIN)/python || { echo "there is no .venv: first make env, without sudo" >&2; exit 1; }

lab-up: $(call as-root,env) ## Slurm regions on this machine for SkyPilot (root, Debian); does nothing when they are up
	@$(BIN)/python -m infra.lab up $(LAB_ARGS)

lab-down: $(call as-root,env-core) ## end them and everything that runs there
	@$(BIN)/python -m infra.lab down $(LAB_ARGS)

lab-status: $(call as-root,env-core) ## what of the lab is up
	@$(BIN)/python -m infra.lab status $(LAB_ARGS)

test-sky: $(call as-root,env) ## real SkyPilot and real vLLM on a lab of its own (root, Debian)
	$(BIN)/pytest -m slurm tests/integration tests/sky --durations=0 $(PYTEST_ARGS)

clean: ## remove caches and build results
	rm -rf .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist htmlcov
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean ## clean, and remove both environments
	rm -rf .venv .venv-lock .venv-vllm .venv-vllm-lock
