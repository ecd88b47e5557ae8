# Everything a newcomer needs; `make help` lists it. Only Python 3.11 or newer and make have to be there.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

export FLWR_TELEMETRY_ENABLED ?= 0
export FLWR_DISABLE_UPDATE_CHECK ?= 1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast fuzz check format bench sweep reproduce clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/installed ## attack ten clients, defend them five ways, show what came of it (about a minute)
	$(BIN)/fedsec reproduce experiments/quickstart/demo.toml --together 6 --out runs/demo/report

test: $(VENV)/installed ## run all tests, some of them with real deployments
	$(BIN)/python -m pytest -n 2 -m "not slow"
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow --durations 25

test-fast: $(VENV)/installed ## run the tests that need no Ray and no SuperLink
	$(BIN)/python -m pytest -n 2 -m "not slow"

fuzz: $(VENV)/installed ## a hundred thousand made-up and damaged replies, and as many configurations (CASES=N)
	$(BIN)/python -m tests.fuzz --cases $(or $(CASES),100000)

check: $(VENV)/installed ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/installed ## measure speed, as ratios to peers and limits in one run; OUT=FOLDER keeps what was found
	$(BIN)/python -m benchmarks.aggregation $(if $(OUT),--out $(OUT))
	$(BIN)/python -m benchmarks.rounds $(if $(OUT),--out $(OUT))
	$(BIN)/python -m benchmarks.overhead $(if $(OUT),--out $(OUT))
	$(BIN)/python -m benchmarks.training $(if $(OUT),--out $(OUT))
	$(BIN)/python -m benchmarks.together --runs 4 --examples 6000 $(if $(OUT),--out $(OUT))
	$(BIN)/python -m benchmarks.gan $(if $(OUT),--out $(OUT))

sweep: $(VENV)/installed ## draw what the rules cost against clients and parameters, in OUT (runs/sweep)
	$(BIN)/python -m benchmarks.sweep --out $(or $(OUT),runs/sweep)
	$(BIN)/python -m benchmarks.figures $(or $(OUT),runs/sweep)

reproduce: $(VENV)/installed ## Table 5.1 of the thesis on GAN balancing, three seeds (hours; needs FEDSEC_DATA or the hub)
	$(BIN)/fedsec reproduce experiments/gan_balancing_thesis/table_5_1.toml --together 3

clean: ## remove the environment and what tools left behind
	rm -rf $(VENV) build dist *.fab .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
