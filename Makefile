SHELL := /bin/sh
export PATH := $(CURDIR)/build/bin:$(CURDIR)/.venv/bin:$(CURDIR)/build/go/bin:$(PATH)
SOURCES := core cni csi proxy cloud labs
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-vm lint landing bench bench-peers differential conformance conformance-storage upstream facts clean
CONFORMANCE := e2e.test agnhost ginkgo etcd sample-apiserver
CLIENTS := helm informer operator mock-csi
SIDECARS := csi-provisioner csi-resizer csi-snapshotter
CONTROL_PLANE := kube-controller-manager kube-scheduler

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
	@labs/setup.sh tests
	@python -m tests.bench

bench-peers: setup  ## the same beside upstream's own programs, in one run
	@labs/setup.sh tests
	@labs/upstream.sh kube-apiserver etcd kube-controller-manager kube-scheduler coredns
	@python -m tests.bench --peers

differential: setup  ## the same requests to upstream's kube-apiserver and to ours, compared
	@labs/setup.sh tests
	@labs/upstream.sh etcd kube-apiserver
	@python -m tests.differential
	@python -m tests.differential mutated:
	@python -m tests.differential 'mutated updates:'
	@python -m tests.differential populated:

conformance: setup  ## upstream's conformance specs: all that are known to pass, or FOCUS='regular expression'
	@labs/setup.sh tests
	@labs/upstream.sh $(CONFORMANCE)
	@python -m tests.conformance $(if $(FOCUS),--focus '$(FOCUS)')

conformance-storage: setup  ## upstream's specs for CSI drivers, with the image driver
	@labs/setup.sh tests
	@labs/upstream.sh $(CONFORMANCE)
	@python -m tests.conformance --storage $(if $(FOCUS),--focus '$(FOCUS)')

upstream: setup  ## upstream's control plane, and clients nobody here wrote, on labs; what they log beside upstream's own API server
	@labs/setup.sh tests
	@labs/upstream.sh $(CLIENTS) $(SIDECARS) $(CONTROL_PLANE) kube-apiserver etcd
	@timeout --foreground --kill-after=60 1200 pytest -q -rs tests/upstream

landing: setup  ## what a landing runs beside `make test`: quick conformance specs, clients, upstream's control plane
	@labs/setup.sh tests
	@timeout --foreground 2700 labs/upstream.sh $(CONFORMANCE) $(CLIENTS) $(CONTROL_PLANE)
	@timeout --foreground --kill-after=60 900 python -m tests.conformance --landing --minutes 8
	@timeout --foreground --kill-after=60 600 pytest -q -rs -m "not oracle and not sidecars" tests/upstream

facts:  ## make the facts about Kubernetes' kinds again from upstream's Go modules
	@labs/setup.sh tests
	@python -m moorings_core.registry.generate

clean:  ## remove what set-up and tests made in this folder
	@rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
