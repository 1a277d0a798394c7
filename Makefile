# Everything runs in VENV, made with PYTHON. A stamp file in it says what is installed.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2

bin := $(VENV)/bin
pip := $(bin)/python -m pip --disable-pip-version-check --quiet
sources := pyproject.toml constraints.txt

.PHONY: demo test test-slow test-openeo lint format bench docs dist clean help
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/.installed-core ## unfold a simulated image of real mountains: a picture and a table
	$(bin)/sarheight demo

test: $(VENV)/.installed-dev ## the tests, but for the slow ones
	$(bin)/python -m pytest -n $(JOBS) --dist loadfile

test-slow: $(VENV)/.installed-dev ## the slow tests
	$(bin)/python -m pytest -n $(JOBS) --dist loadfile -m slow

test-openeo: $(VENV)-openeo/.installed ## the process of openEO in openEO's own executor
	$(VENV)-openeo/bin/python -m pytest tests/test_openeo.py

lint: $(VENV)/.installed-dev ## formatting, rules and types
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy

format: $(VENV)/.installed-dev ## write files the way `lint` wants them
	$(bin)/ruff format .
	$(bin)/ruff check --fix .

bench: $(VENV)/.installed-dev ## every benchmark; figures go to benchmarks/results
	$(bin)/python -m benchmarks

docs: $(VENV)/.installed-docs ## the user's guide, in docs/_build/html
	MPLBACKEND=Agg $(bin)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

dist: $(VENV)/.installed-release ## the archive of the sources and the wheel, in dist, checked for upload
	rm -rf dist
	$(bin)/python -m build --outdir dist
	$(bin)/python -m twine check --strict dist/*

clean: ## remove caches and built files, but not the environment
	rm -rf build dist docs/_build docs/api docs/gallery docs/sg_execution_times.rst
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find sarheight kernels tests benchmarks examples docs -name __pycache__ -exec rm -rf {} +

$(bin)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)-openeo/.installed: $(sources)
	$(PYTHON) -m venv $(VENV)-openeo
	$(VENV)-openeo/bin/python -m pip --disable-pip-version-check --quiet install -e '.[openeo]' hypothesis pytest
	@touch $@

$(VENV)/.installed-core: $(sources) | $(bin)/python
	$(pip) install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-%: $(sources) | $(bin)/python
	$(pip) install -c constraints.txt -e '.[$*]'
	@touch $@
