# Sluice. `make` lists every target. CI calls nothing but these.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -X sluice/internal/boot.Version=$(VERSION)
STATIC   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w $(LDFLAGS)'
PROGRAMS := supervisor proxy healthd migrator

GOLANGCI_VERSION := v2.15.0
GOLANGCI         := .tools/golangci-lint-$(GOLANGCI_VERSION)
GOTESTSUM_VERSION := v1.13.0
GOTESTSUM         := .tools/gotestsum-$(GOTESTSUM_VERSION)
# $(call gotest,FORMAT,PACKAGES,FLAGS). Many tests judge times, on machines that
# others use too: CI runs a test that failed once more by itself and prints both
# outcomes. Not after a data race, and not where more than five tests failed.
ifeq ($(CI)$(ARGS),true)
gotest = $(GOTESTSUM) --format $(1) --rerun-fails=1 --rerun-fails-max-failures=5 --rerun-fails-run-root-test \
	--rerun-fails-abort-on-data-race --packages='$(2)' -- $(3)
TESTER = $(GOTESTSUM)
else
gotest = $(GO) test $(3) $(2) $(ARGS)
endif
# Packages with allocation counts: the race detector allocates, so they run again without it.
ALLOC_DIRS = $(sort $(dir $(shell find . -name '*_alloc_test.go' -not -path './.*')))
# The race detector, but not inside SQLite: that is C in Go's clothes with its own
# locks, and instrumented it takes four times as long.
RACE       = -race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-race=false
SERVICES   = mkdir -p .run && .ci/needs services && set -a && . .run/services.env && set +a
SDK        := internal/e2e/sdk

FUZZTIME    ?= 1m
FUZZ_TOTAL  ?=
FUZZ_INPUTS ?=
ARGS        ?=

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## the four programs into bin/, static
	@mkdir -p bin
	$(STATIC) -o bin/ $(PROGRAMS:%=./%)

.PHONY: run
run: build ## build, then the whole appliance in the foreground on port 4000 (flags by ARGS=…)
	@mkdir -p .run/state
	SLUICE_PRESTOP_DELAY=0 exec bin/supervisor --state_dir .run/state $(ARGS)

.PHONY: test
test: $(TESTER) ## everything but the appliance: unit, race, allocation and service tests; installs what they need
	.ci/needs race
	$(SERVICES) && $(call gotest,standard-quiet,./...,$(RACE) -shuffle=on -timeout 15m)
	$(SERVICES) && $(call gotest,standard-quiet,$(or $(ALLOC_DIRS),./internal/archtest),-shuffle=on -timeout 10m)
	$(GO) test -tags sluicebad -timeout 10m -run '^TestAllowAllIsCaught$$' ./proxy/admin
	$(GO) test -tags sluicelayout -timeout 10m -run 'Layout|Bank|Cells' ./supervisor/fleet ./proxy/limit
	cd $(SDK) && $(GO) test -shuffle=on -timeout 10m ./...

.PHONY: check
check: $(GOLANGCI) ## formatting, vet, linters, import table, generated documents
	$(GO) build -mod=readonly ./...
	$(GO) vet ./...
	$(GO) vet -tags e2e ./internal/e2e/...
	$(GO) vet -tags image ./internal/imagetest
	$(GO) vet -tags sluicebad ./proxy/... ./supervisor/...
	$(GO) vet -tags sluicelayout ./proxy/limit ./supervisor/fleet
	$(GOLANGCI) fmt --diff
	$(GOLANGCI) run
	cd $(SDK) && $(GO) vet ./... && $(CURDIR)/$(GOLANGCI) run
	$(GO) test -count=1 ./internal/archtest
	$(GO) test -count=1 -run '^TestDoc' ./proxy/config ./proxy/access
	$(GO) mod tidy -diff && (cd $(SDK) && $(GO) mod tidy -diff)
	$(GO) mod verify

$(GOLANGCI):
	@mkdir -p .tools
	GOBIN=$(CURDIR)/.tools $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv .tools/golangci-lint $@

$(GOTESTSUM):
	@mkdir -p .tools
	GOBIN=$(CURDIR)/.tools $(GO) install gotest.tools/gotestsum@$(GOTESTSUM_VERSION)
	mv .tools/gotestsum $@

.PHONY: fmt
fmt: $(GOLANGCI) ## gofumpt and import order, in place
	$(GOLANGCI) fmt

.PHONY: e2e
e2e: $(TESTER) ## the real programs under load, killed, recycled, stopped: short form (flags by ARGS=…)
	.ci/needs race proxies wheels prometheus
	$(SERVICES) && $(call gotest,standard-verbose,./internal/e2e,-v -tags e2e -count=1 -timeout 50m)

.PHONY: soak
soak: ## the same tests at full length, then ten million fuzz inputs
	.ci/needs race proxies wheels prometheus
	$(SERVICES) && $(GO) test -v -tags e2e -count=1 -timeout 6h ./internal/e2e $(ARGS) -full
	$(MAKE) fuzz FUZZTIME=20s FUZZ_INPUTS=10000000

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (FUZZ_TOTAL seconds over all of them; rounds up to FUZZ_INPUTS inputs)
	@FUZZTIME='$(FUZZTIME)' FUZZ_TOTAL='$(FUZZ_TOTAL)' FUZZ_INPUTS='$(FUZZ_INPUTS)' GO='$(GO)' .ci/fuzz

.PHONY: bench
bench: build ## one table beside nginx, HAProxy and a bare fasthttp proxy (flags by ARGS=…)
	.ci/needs bench
	$(GO) run ./benchmarks/compare $(ARGS)

.PHONY: image
image: ## dist/sluice-image.tar, for docker load: the container image sluice:dev
	.ci/needs image
	VERSION='$(VERSION)' GO='$(GO)' image/container/build

.PHONY: packages
packages: ## dist/*.deb and dist/*.rpm for amd64 and arm64 (PACKAGE_ARCHES, VERSION); the same bytes twice
	@.ci/needs packages
	VERSION='$(VERSION)' GO='$(GO)' systemd/build

# $(call imagetest,TESTS,MINUTES): tests of what is shipped, as root.
imagetest = $(SERVICES) && $(call gotest,standard-verbose,./internal/imagetest,-v -tags image -count=1 -parallel 4 -timeout $(2)m -run '$(1)')

.PHONY: image-test
image-test: image packages vm $(TESTER) ## image, packages and VM, each started for real: short form (full: ARGS=-full)
	.ci/needs image packages vm
	$(call imagetest,^Test(Container|Package|VM),$(if $(findstring -full,$(ARGS)),120,25))

.PHONY: compose-test
compose-test: image $(TESTER) ## the compose stack with PostgreSQL and Redis, and the seeds' checklist (full: ARGS=-full)
	.ci/needs image
	$(call imagetest,^TestCompose,20)

.PHONY: chart
chart: ## dist/sluice-chart-VERSION.tgz, for helm install
	.ci/kube helm
	GO='$(GO)' image/helm/build $(CHART_RELEASE)

.PHONY: helm-test
helm-test: image $(TESTER) ## the chart on a real one-node Kubernetes (full: ARGS=-full)
	.ci/needs image helm
	$(call imagetest,^TestHelm,60)

.PHONY: vm
vm: ## dist/sluice.qcow2, a disk image with the package of make packages on it (VM_POSTGRES=1, VM_REDIS=1, VM_CLOUD_INIT=1)
	.ci/needs vm
	@compgen -G 'dist/sluice_*_amd64.deb' >/dev/null || $(MAKE) packages
	GO='$(GO)' image/vm/build

.PHONY: vm-run
vm-run: ## boots it: 127.0.0.1:4000, 4001 and 2222 to ssh (VM_PORT, VM_HEALTH_PORT, VM_SSH_PORT; image/vm/run has the rest)
	@.ci/needs vm
	@exec image/vm/run

.PHONY: clean
clean: ## what was built and what runs left behind
	rm -rf bin dist .run .cache
