# Every target sets up what it needs: Python 3.11 or newer and make are enough. `make` lists the targets.

PYTHON ?= python3
PYTEST_ARGS ?=
BENCH_ARGS ?=

# An environment is made anew when the interpreter, pyproject.toml or constraints.txt change: its stamp bears the
# interpreter's version and depends on both files.
PYTHON_VERSION := $(shell $(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null)
STAMP := installed-$(PYTHON_VERSION)
CHECK_PYTHON := import sys; sys.version_info >= (3, 11) or sys.exit("jaxinterp needs Python 3.11 or newer and \
$(PYTHON) is %d.%d: choose another with PYTHON=..." % sys.version_info[:2])
PIP_INSTALL := bin/python -m pip install --disable-pip-version-check -qq

.PHONY: help demo test parity bench lint lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/package ## run the demonstration, configs/demo.toml, into runs/demo
	.venv/bin/jaxinterp run configs/demo.toml

test: .venv-test/$(STAMP) ## run the tests; needs no PyTorch (choose with PYTEST_ARGS="-k words")
	.venv-test/bin/pytest -n auto --maxprocesses=4 --dist=loadfile $(PYTEST_ARGS)

parity: .venv-parity/$(STAMP) ## run the comparisons with PyTorch and Captum; fails if one is skipped
	JAXINTERP_REQUIRE_PARITY=1 .venv-parity/bin/pytest -m parity $(PYTEST_ARGS)

bench: .venv-parity/$(STAMP) ## measure against PyTorch (choose with BENCH_ARGS="step --only vgg16")
	.venv-parity/bin/jaxinterp bench $(BENCH_ARGS)

lint: .venv-test/$(STAMP) ## check style, format and types
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/pyright --pythonpath .venv-test/bin/python

lock: ## rewrite constraints.txt with the newest versions that pyproject.toml allows
	@$(PYTHON) -m venv .venv-lock
	@.venv-lock/$(PIP_INSTALL) uv==0.13.8
	@{ echo "# The exact versions that the Makefile installs, for every supported Python. Made by"; \
	echo "# 'make lock' from pyproject.toml: change that file, and run it again."; \
	.venv-lock/bin/uv pip compile -q --universal --python-version 3.11 --extra test --extra parity \
	--no-header --no-annotate pyproject.toml; } > .venv-lock/constraints.txt
	@mv .venv-lock/constraints.txt constraints.txt
	@rm -rf .venv-lock

clean: ## remove environments, caches and builds; runs/ stays
	rm -rf .venv .venv-test .venv-parity .venv-lock dist .hypothesis .pytest_cache .ruff_cache
	find jaxinterp tests -name __pycache__ -prune -exec rm -rf {} +

.venv/$(STAMP): WANTED := .
.venv-test/$(STAMP): WANTED := -e '.[test]'
.venv-parity/$(STAMP): WANTED := -e '.[test,parity]'

.venv/$(STAMP) .venv-test/$(STAMP) .venv-parity/$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c '$(CHECK_PYTHON)'
	@echo "Installing into $(@D)"
	@rm -rf $(@D)
	@$(PYTHON) -m venv $(@D)
	@$(@D)/$(PIP_INSTALL) -c constraints.txt $(WANTED)
	@touch $@

# Not editable but as users install it, so that a file missing from the wheel is noticed.
.venv/package: .venv/$(STAMP) $(shell find jaxinterp -type f -not -name '*.pyc')
	@.venv/$(PIP_INSTALL) --no-deps --force-reinstall .
	@touch $@
