# Every target sets up what it needs in .venv; `make` alone lists them.
# PYTHON=python3.12 names the interpreter, TORCH=cpu|cuda|skip the build of PyTorch (see README.md).

PYTHON ?=
TORCH ?=
WORKERS ?= 2

VENV := .venv
RUN := $(VENV)/bin/python
PYTEST := $(RUN) -m pytest
PARALLEL := -n $(WORKERS) --dist loadfile
# The set-up is current while the dependencies and the folder are the ones it was made for.
SETUP_ID := $(shell { pwd; cat pyproject.toml install.sh; } | cksum | tr -s ' \t' '-')
STAMP := $(VENV)/setup-$(SETUP_ID)

# The other scripts of bench/ make pictures and tables of constants.
BENCHES := store submit_latency program jail_start jail_many jail_operations jail_soak

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all check lint types imports docs bench clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1|\2/' | \
		awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

$(STAMP):
	@PYTHON='$(PYTHON)' TORCH='$(or $(TORCH),auto)' sh install.sh --dev --venv $(VENV)
	@rm -f $(VENV)/setup-*
	@touch $@

install: $(STAMP)  ## set up .venv: BCAI, PyTorch and the development tools
	@$(if $(TORCH),$(RUN) -m bcai.cli.install_torch $(TORCH),:)

demo: install  ## train a network on handwritten digits in a jail on this machine
	@$(VENV)/bin/bcai run examples/digits.py --out out/digits
	@echo
	@echo "The results are in out/digits:" && ls -1 out/digits | sed 's/^/  /'

test: lint types imports docs  ## every check, then every test but the slow ones
	@$(PYTEST) $(PARALLEL) -m "not slow"

test-all: lint types imports docs  ## every check and every test
	@$(PYTEST) $(PARALLEL)

check: lint types imports docs  ## the checks alone: style, types, layers, docs, the repository's own rules
	@$(PYTEST) $(PARALLEL) tests/repository tests/docs

lint: install
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

types: install
	@$(RUN) -m pyright

imports: install
	@$(VENV)/bin/lint-imports

docs: install  ## build the documentation into site/; a dead link fails
	@$(VENV)/bin/zensical build --clean --strict

bench: install  ## measure; each script prints its figures and writes them to bench/results
	@for name in $(BENCHES); do echo "== $$name" && $(RUN) "bench/$$name.py" || exit 1; done

clean:  ## remove what the targets made here; jobs and settings stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache site build dist out
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
