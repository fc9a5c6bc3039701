# Sallyport. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO          ?= go
VERSION     ?= 0.1.0-dev
LDFLAGS     := -s -w -X main.version=$(VERSION)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
PKG         ?= ./...
FUZZTIME    ?= 20s
ARGS        ?=
OUT         := bin

.PHONY: help demo build test test-deploy deploy-tools dist nightly chaos drill test-clients client-libraries test-tls race fuzz bench abuse bench-install lint fmt clean ci redis-server

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build ## the two-minute tour with an embedded backend (ARGS=--once ends after it, ARGS="--redis HOST:PORT" uses a real one)
	@$(OUT)/sallyport-demo $(ARGS)

build: ## bin/sallyport and bin/sallyport-demo
	@mkdir -p $(OUT)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(OUT)/ ./cmd/sallyport ./cmd/sallyport-demo

# Every test, real redis-server included. A skipped test is a failure: what a
# test needs is installed or named, never left out in silence.
test: redis-server ## every test; installs redis-server where it may, else says what to install
	@mkdir -p $(OUT)
	@status=0; $(GO) test -timeout 15m -v $(PKG) >$(OUT)/test.log 2>&1 || status=$$?; \
	grep -E '^(ok|FAIL|---? FAIL|\?)[[:space:]]' $(OUT)/test.log | grep -v 'no test files' || true; \
	if grep -E '^[[:space:]]*--- SKIP' $(OUT)/test.log; then echo 'a test was skipped: see $(OUT)/test.log'; exit 1; fi; \
	if [ $$status -ne 0 ]; then grep -B40 -E '^(panic:|[[:space:]]*--- FAIL|FAIL)' $(OUT)/test.log | tail -200; echo 'the whole output is in $(OUT)/test.log'; fi; \
	exit $$status

test-clients: redis-server client-libraries ## clients of other languages: redis-py, hiredis, ioredis, node-redis beside redis-cli and go-redis
	$(GO) test -tags clients -count=1 -run 'TestClients' -v ./cmd/sallyport ./acl
	$(GO) test -tags clients -count=1 -run 'TestClientsForClusters' -v ./proxy

# Exact versions, no scripts of theirs, no lock file with addresses.
client-libraries:
	@mkdir -p $(OUT)/clients
	@if ! { /usr/bin/python3 -c 'import redis' && test -e /usr/include/hiredis/hiredis.h && command -v npm; } >/dev/null 2>&1; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo 'installing python3-redis, libhiredis-dev and npm (Debian)'; \
	    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-redis libhiredis-dev $$(command -v npm >/dev/null || echo npm); } >/dev/null; \
	  else echo 'this needs redis-py, hiredis and npm (Debian: python3-redis libhiredis-dev npm)'; exit 1; fi; fi
	@test -d $(OUT)/clients/node_modules/redis || { cd $(OUT)/clients && echo '{"private":true}' >package.json && \
	  npm install --no-audit --no-fund --ignore-scripts --no-package-lock ioredis@6.0.0 redis@6.3.1 >/dev/null; }

test-tls: redis-server ## testssl.sh against a listener as it comes; installs it where it may, takes two minutes
	@command -v testssl >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo 'installing testssl.sh (Debian)'; \
	  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends testssl.sh dnsutils bsdextrautils procps; } >/dev/null; \
	else echo 'this needs testssl.sh as the command testssl: install it (Debian: apt-get install testssl.sh) and try again'; exit 1; fi
	$(GO) test -tags testssl -count=1 -timeout 15m -run TestTheListenerAsTestssl -v ./cmd/sallyport

test-deploy: redis-server deploy-tools build ## chart, manifests, alert rules, dashboard, units, packages: as Kubernetes, Prometheus, systemd and dpkg read them
	cd deploy/tools && $(GO) test -count=1 -timeout 15m ./check

# helm and nfpm are built from the Go module proxy, in modules of their own; the
# rest is Debian's.
deploy-tools:
	@mkdir -p $(OUT)/tools
	@test -x $(OUT)/tools/helm || { echo 'building helm'; cd deploy/tools && $(GO) build -trimpath -o ../../$(OUT)/tools/helm helm.sh/helm/v3/cmd/helm; }
	@test -x $(OUT)/tools/nfpm || { echo 'building nfpm'; cd deploy/tools/nfpm && $(GO) build -trimpath -o ../../../$(OUT)/tools/nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm; }
	@PATH="$$PATH:/usr/sbin"; missing=''; for p in prometheus:prometheus promtool:prometheus debootstrap:debootstrap logrotate:logrotate rpm:rpm systemd-analyze:systemd; do \
	  command -v $${p%%:*} >/dev/null || missing="$$missing $${p#*:}"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing$$missing (Debian)"; \
	    { apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; } >/dev/null; \
	  else echo "this needs$$missing: install them (Debian: apt-get install$$missing) and try again"; exit 1; fi; fi

dist: deploy-tools ## what is released, into bin/dist: archives, deb, rpm, a FIPS 140-3 variant, bills of materials, checksums; the same bytes each time
	@rm -rf $(OUT)/dist
	deploy/packages/dist.sh $(VERSION) $(OUT)/dist

race: redis-server ## the tests under the race detector, the long ones shortened
	$(GO) test -race -short -timeout 15m $(PKG)

nightly: redis-server ## the long runs: 200,000 decisions against a real server, 10,000,000 verified commands of 200 clients, 1,000,000 interleavings, 1,000 reloads under load, a stalled collector and a full disk, a value of 512 MiB
	$(GO) test -count=1 -timeout 30m -run TestDifferential ./acl -args -nightly
	$(GO) test -count=1 -timeout 10m -run TestAHugeValue -v ./proxy -huge.mib=512
	$(GO) test -count=1 -timeout 60m -run TestNoReplyReachesAnotherClient -v ./proxy -isolation.commands=10000000 -isolation.clients=200 $(ARGS)
	$(GO) test -count=1 -timeout 60m -run TestDataReachesOnlyItsOwner -v ./proxy -interleavings=1000000 $(ARGS)
	$(GO) test -count=1 -timeout 30m -run 'TestReloadsUnderLoad|TestARecordThatStalls' -v ./cmd/sallyport -args -nightly

chaos: redis-server ## half an hour of harm: 100 histories of ten clients under kills and freezes, 200 kills under write load (ARGS="-chaos.seed=N" repeats one)
	$(GO) test -count=1 -timeout 90m -run 'TestNoHistory|TestAKilledProxy' -v ./proxy/conformance -chaos.seeds=100 -chaos.duration=10s -chaos.kills=200 $(ARGS)

drill: redis-server ## 100 failovers (50 of a cluster, 50 by Sentinels) beside a client that follows on its own, and 1,000 slots that move under load: some six minutes (ARGS="-drill.failovers=20 -drill.seed=N")
	$(GO) test -count=1 -timeout 60m -run 'TestFailoversBesideAClient|TestSlotsMove' -v ./proxy/conformance -drill.failovers=100 -drill.slots=1000 $(ARGS)

fuzz: ## every fuzz target for FUZZTIME each (default 20s)
	@for f in $$(grep -rlE '^func Fuzz' --include=*_test.go .); do \
	  for t in $$(grep -oE '^func Fuzz[A-Za-z0-9_]+' $$f | cut -d' ' -f2); do \
	    echo "== $$(dirname $$f) $$t"; $(GO) test -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) $$(dirname $$f); \
	  done; done

bench: build ## measure against the peers found and write bench/results (ARGS="-quick" for two minutes)
	$(GO) run ./bench -sallyport $(OUT)/sallyport $(ARGS)

abuse: build ## clients that misbehave in their thousands, and what they do to the others (ARGS="-points slow", ARGS=-quick)
	$(GO) run ./bench -abuse -gate -sallyport $(OUT)/sallyport $(ARGS)

bench-install: ## the peers from Debian (root)
	@bench/install.sh

lint: ## gofmt, vet (linux and darwin) and staticcheck
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "not gofmt'd:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

fmt: ## gofmt every file
	@gofmt -w $$(git ls-files '*.go')

clean: ## remove what was built
	rm -rf $(OUT)

ci: ## what the hosted run does: lint, test, race, the demo's tour
	@.ci/run

redis-server:
	@command -v redis-server redis-cli redis-benchmark nutcracker | wc -l | grep -qx 4 && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo 'installing redis-server and nutcracker (Debian)'; \
	  { apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server redis-tools nutcracker; } >/dev/null; \
	else echo 'the tests need a real redis-server, redis-cli, redis-benchmark and nutcracker: install them (Debian: apt-get install redis-server redis-tools nutcracker) and try again'; exit 1; fi
