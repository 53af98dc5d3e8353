# Every target sets up what it needs in .venv first; setting up again costs nothing until pyproject.toml or constraints.txt changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
READY := $(VENV)/.ready
DOCS := $(VENV)/.docs
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help setup demo test coverage lint format docs bench schemas constraints clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## install everything into .venv

# The stamp goes first and comes back last: an interrupted set-up starts again from an empty .venv.
# Torch is installed alone and before the rest, so that no other requirement has a say in which build it is.
$(READY): pyproject.toml constraints.txt
	@test -e $@ || $(PYTHON) -m venv --clear $(VENV)
	@rm -f $@
	@echo "setting up $(VENV) (torch first; a few minutes on a fresh machine)" >&2
	$(PIP) install -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(PIP) install -c constraints.txt -e ".[test]"
	@touch $@

demo: $(READY)  ## ten deletion requests, from the sketch to certificates, and the truth beside them
	$(BIN)/unlearnkit demo

# A process that runs out of tests takes some of another's.
test: $(READY)  ## run the tests, JOBS at a time
	UNLEARNKIT_STRICT_SKIPS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# Under a tracer everything takes twice as long, and the derivatives of the rules far longer.
coverage: $(READY)  ## run the tests and print which lines and branches they reach
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --cov --cov-report=term:skip-covered

lint: $(READY)  ## ruff and mypy --strict
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY)  ## let ruff format and fix the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(DOCS): $(READY)
	$(PIP) install -c constraints.txt -e ".[docs]"
	@touch $@

docs: $(DOCS)  ## build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(READY)  ## list the benchmark commands
	@for file in benchmarks/*.py; do test -e "$$file" || continue; echo "$(BIN)/python $$file"; done

schemas: $(READY)  ## write docs/schemas from the declarations of what is stored
	$(BIN)/python docs/schemas/generate.py

constraints: ## pin the newest versions that work together, from a fresh environment
	$(PYTHON) -m venv --clear build/constraints
	build/constraints/bin/pip --quiet install "$$(grep '^torch==' constraints.txt)"
	build/constraints/bin/pip --quiet install -e ".[test,docs]"
	{ grep -E '^(#|aics-tlog)' constraints.txt; \
	  build/constraints/bin/pip freeze --all --exclude-editable --exclude pip | sed '/^aics-tlog/d; s/+cpu$$//'; } \
	  > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:  ## remove .venv and everything that was built
	rm -rf $(VENV) build dist *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
