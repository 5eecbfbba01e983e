# The front door. `make help` lists the rules.

# LANG is also the shell's locale: it must come from the command line, and no child may see it.
unexport LANG
export LC_ALL := C.UTF-8

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
RECIPE ?=
RECIPES ?=
SCALE ?= mini
RUNS ?= runs
DATA ?=
TEACHER ?=
TASKS ?=
SCORE ?=
WORKERS ?=
JOBS ?= logical
RUNNER ?= auto
DEVICE ?= cpu
CHECKS ?=
RECORDS ?= benchmarks/records
BASE ?=
CLOCK ?= wall
ACCEPT ?=
ONLY ?=
SHARE ?=
export DEVICE DOCKER BASE_IMAGE CUDA_IMAGE TORCH_INDEX PIP_CONFIG BUILD_FLAGS RUN_FLAGS CACHE MEMORY

HARNESS := $(VENV)/bin/harness
READY := $(VENV)/.ready
LINTERS := $(VENV)/.linters
SITE := build/docs
LOCKS := requirements.lock torch.lock torch-cpu.lock
SOURCES := setup.py pyproject.toml $(LOCKS) .ci/torch $(wildcard csrc/* csrc/*/*)

OPTIONS = "$(LANG)" $(if $(RECIPE),--recipe "$(RECIPE)") --scale "$(SCALE)" --runs "$(RUNS)" \
  $(if $(DATA),--data "$(DATA)") $(if $(TEACHER),--teacher "$(TEACHER)") $(if $(TASKS),--tasks "$(TASKS)") \
  $(if $(SCORE),--score "$(SCORE)") $(if $(WORKERS),--workers "$(WORKERS)")

reproduce: _language ## LANG=mt: run a recipe on a language (also RECIPE SCALE DATA TEACHER TASKS SCORE=all|final|none WORKERS=N|auto RUNS RUNNER=auto|docker|local)
	@runner=$$(docker/runner "$(RUNNER)") && $(MAKE) --no-print-directory _reproduce-$$runner

_reproduce-local: $(READY)
	@$(HARNESS) reproduce $(OPTIONS)

_reproduce-docker:
	@$(if $(filter command environment,$(origin TORCH)),TORCH="$(TORCH)") docker/reproduce $(OPTIONS)

compare: _language $(READY) ## LANG=mt: run all recipes on one teacher and print the leaderboard (also RECIPES SCALE DATA TEACHER RUNS)
	@$(HARNESS) compare --lang "$(LANG)" --scale "$(SCALE)" --runs "$(RUNS)" $(if $(RECIPES),--recipes "$(RECIPES)") \
	  $(if $(DATA),--data "$(DATA)") $(if $(TEACHER),--teacher "$(TEACHER)")

image: ## build the container image (DEVICE=cpu|cuda BASE_IMAGE TORCH PIP_CONFIG)
	@$(if $(filter command environment,$(origin TORCH)),TORCH="$(TORCH)") docker/image

test: $(READY) ## run the tests in a process for each core (no network, no GPU, no extension needed; JOBS=1: in one)
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(VENV)/bin/python -m pytest --numprocesses "$(JOBS)" --maxprocesses 4 --dist loadfile

check: $(READY) lint ## style, types, the import law, and lint
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/mypy --strict docs/examples
	@$(VENV)/bin/lint-imports

lint: $(LINTERS) ## the container file, the workflows and the shell scripts
	@$(VENV)/bin/hadolint docker/Dockerfile
	@$(VENV)/bin/shellcheck .ci/run .ci/bucket .ci/packaging .ci/container .ci/aarch64 .ci/torch docker/image docker/reproduce docker/runner docker/slim
	@$(VENV)/bin/actionlint -shellcheck $(VENV)/bin/shellcheck -pyflakes ""
	@$(VENV)/bin/zizmor --offline --quiet .github

build: ## set up the environment and rebuild the extension (HARNESS_CUDA=0|1|auto)
	@rm -f $(READY)
	@$(MAKE) --no-print-directory $(READY)

gpu-check: _gpu ## on a machine with an NVIDIA GPU: build, test and time the kernels, and write the record
	@HARNESS_CUDA=1 $(MAKE) --no-print-directory build
	@HARNESS_OPS=compiled $(VENV)/bin/python -m pytest tests/ops
	@if command -v compute-sanitizer >/dev/null; then \
	  compute-sanitizer --error-exitcode 1 $(VENV)/bin/python -m pytest tests/ops -m gpu; \
	else echo "gpu-check: compute-sanitizer is not installed; left out"; fi
	@HARNESS_OPS=compiled $(VENV)/bin/python -m benchmarks.ops --device cuda --record benchmarks/records

web: ## install what the page of `harness demo` needs (npm; its tests too with CHECKS=1)
	@cd harness/web && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error $(if $(CHECKS),,--omit=dev)

bench: $(READY) ## time ops, encoders and stages, print tables and write a record (RECORDS=benchmarks/records)
	@THP_MEM_ALLOC_ENABLE=1 $(VENV)/bin/python -m pytest benchmarks --record "$(RECORDS)"

bench-compare: _base $(READY) ## BASE=<record or git revision>: is this checkout slower or larger? (also CLOCK=wall|cpu ACCEPT ONLY)
	@$(VENV)/bin/python -m benchmarks.regression "$(BASE)" --clock "$(CLOCK)" $(if $(ACCEPT),--accept "$(ACCEPT)") $(if $(ONLY),--only "$(ONLY)")

torture: $(READY) ## kill, damage, fill, lie, fuzz: print what was survived (also ONLY SHARE RECORDS)
	@THP_MEM_ALLOC_ENABLE=1 OMP_NUM_THREADS=1 $(VENV)/bin/python -m benchmarks.torture $(if $(ONLY),--only $(ONLY)) \
	  $(if $(SHARE),--share "$(SHARE)") $(if $(filter command environment,$(origin RECORDS)),--record "$(RECORDS)")

sanitize: $(READY) ## the tests of the ops under AddressSanitizer, UBSan and ThreadSanitizer (also ONLY)
	@VENV="$(VENV)" .ci/sanitize $(ONLY)

bench-history: $(READY) ## draw the records of make bench over time, into build/history
	@$(VENV)/bin/python -m benchmarks.records history

docs: $(SITE) ## build the site into build/site; every link must lead somewhere
	@NO_MKDOCS_2_WARNING=1 $(SITE)/bin/python -m mkdocs build --quiet --strict

$(SITE): docs.lock
	@rm -rf $(SITE) && $(PYTHON) -m venv $(SITE)
	@$(SITE)/bin/pip install --quiet --require-hashes -r docs.lock || { rm -rf $(SITE); exit 1; }
	@touch $(SITE)

packaging: ## build sdist and wheel, and try them in a new environment (TOOLS=1: by uv and pipx too; FULL=1: the sdist with [train,export])
	@.ci/packaging "$(PYTHON)"

lock: ## renew the locks from pyproject.toml and TORCH (needs uv, and PyTorch's index for torch-cpu.lock)
	@uv pip compile pyproject.toml --extra all --extra web --extra build --extra develop --python-version 3.11 --generate-hashes \
	  --no-emit-package torch --no-header --no-annotate --upgrade -q -o requirements.lock
	@echo "$(TORCH)" | uv pip compile - --universal --python-version 3.11 --constraint requirements.lock --generate-hashes \
	  --no-header --no-annotate -q -o torch.lock
	@echo "$(TORCH)" | uv pip compile - --torch-backend cpu --no-deps --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate -q -o torch-cpu.lock
	@for group in lint docs; do \
	  uv pip compile --group $$group --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade -q -o $$group.lock || exit 1; \
	done

clean: ## remove the environment, build outputs and caches; runs stay
	@rm -rf $(VENV) build *.egg-info harness/ops/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: reproduce compare image test check lint build gpu-check bench bench-compare bench-history torture sanitize web docs packaging lock clean help _base _gpu _language _reproduce-local _reproduce-docker

_base:
	@test -n "$(BASE)" || { echo "usage: make bench-compare BASE=<record or git revision>   (as BASE=main)" >&2; exit 2; }

_gpu:
	@nvidia-smi -L 2>/dev/null | grep -q '^GPU' || { echo "gpu-check: expected an NVIDIA GPU; got none that nvidia-smi lists; run it on a machine with a GPU" >&2; exit 2; }

_language:
ifeq ($(and $(filter command,$(origin LANG)),$(LANG)),)
	@echo "usage: make reproduce LANG=<code>   (expected a language, as LANG=mt; '$(VENV)/bin/harness languages' lists them)" >&2; exit 2
endif

$(READY): $(SOURCES)
	@test -x $(VENV)/bin/python || { echo "setup: making $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); } >&2
	@echo "setup: installing $$(grep -c == requirements.lock) pinned packages into $(VENV) (a few minutes)" >&2
	@$(VENV)/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	@echo "setup: installing $(TORCH)" >&2
	@.ci/torch $(VENV)/bin/python "$(TORCH)" install >/dev/null
	@echo "setup: compiling the kernels and installing the harness" >&2
	@$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@HARNESS_OPS=auto $(VENV)/bin/python -c 'from harness import ops; ops.implementation() == "compiled" or print("kernels: the reference in PyTorch runs:", ops.explanation())'
	@touch $@

$(LINTERS): lint.lock
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --no-deps --require-hashes -r lint.lock
	@touch $@
