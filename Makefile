SHELL := /bin/sh
export PATH := $(CURDIR)/build/bin:$(CURDIR)/.venv/bin:$(CURDIR)/build/go/bin:$(PATH)
SOURCES := core cni csi proxy cloud labs
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-vm lint bench differential conformance facts clean

help:  ## show these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## Debian packages that are missing, uv, .venv from uv.lock, kubectl
	@labs/setup.sh

demo: setup  ## the main job: a three-node cluster, real containers, unmodified kubectl
	@labs/demo.sh

test:  ## set-up, then lint, types, architecture and all tests
	@labs/setup.sh tests
	@$(MAKE) --no-print-directory lint
	@labs/test.sh

test-vm:  ## the tests that need another kernel, in a machine in software
	@labs/setup.sh tests
	@python -m tests.vm

lint:  ## ruff, mypy --strict, import-linter
	@ruff check .
	@ruff format --check -q .
	@mypy
	@lint-imports --no-cache | sed -n "/Broken/,\$$p;/kept/p"

bench: setup  ## print the figures of README's table, measured here
	@python -m tests.bench

differential: setup  ## the same requests to upstream's kube-apiserver and to ours, compared
	@labs/setup.sh tests
	@labs/upstream.sh etcd kube-apiserver
	@python -m tests.differential

conformance: setup  ## upstream's conformance specs that tests/conformance/passing.txt lists
	@labs/setup.sh tests
	@labs/upstream.sh e2e.test agnhost ginkgo
	@python -m tests.conformance

facts:  ## make the facts about Kubernetes' kinds again from upstream's Go modules
	@labs/setup.sh tests
	@python -m moorings_core.registry.generate

clean:  ## remove what set-up and tests made in this folder
	@rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
