.PHONY: demo demo-stop demo-node demo-node-stop test unit e2e e2e-oldest build image release-dry-run screenshots generate freeze-chart lint bench bench-handler fuzz fuzz-ci race vulnerabilities

# The main job on a real IPv6-only API server; the cluster stays up until `make demo-stop`.
demo: tools
	go run ./e2e/demo

demo-stop demo-node-stop:
	go run ./e2e/demo -stop

# The same on a real node with pods, where the machine allows it: root, and packages of Debian.
demo-node: tools
	@sh e2e/requirements.sh node
	go run ./e2e/demo -node

# All tests: unit tests, then the tests on real API servers, nginx and the rest.
test: tools lint unit race fuzz-ci e2e e2e-oldest

build:
	CGO_ENABLED=0 go build -o bin/ ./cmd/...

# Name of the image, without tag.
REPOSITORY = docker.io/sixgate/webhook
# Absolute path of the key that signs the checksums of a release; none: they are not signed.
KEY =

# The image as an OCI layout and as one file, in dist (docs/release.md).
image:
	go -C tools/release run . -root "$(CURDIR)" -repository "$(REPOSITORY)" image

# All that a release is made of, in dist; nothing is published.
release-dry-run: vulnerabilities
	go -C tools/release run . -root "$(CURDIR)" -repository "$(REPOSITORY)" -key "$(KEY)" all

unit:
	@sh e2e/requirements.sh
	go test ./...
	cd tools/cni && go test ./...
	cd tools/release && go test ./...
	cd bench && go test ./...

# More manifests to test with, where somebody put them beside the checkout.
CORPUS = $(patsubst %/SOURCES.md,%,$(firstword $(wildcard ../*/corpus/SOURCES.md)))

# The first run builds kube-apiserver, etcd and kubectl: about 8 minutes on 2 cores.
e2e: tools
	@sh e2e/requirements.sh
	go run ./e2e/demo -prepare
	SIXGATE_CORPUS="$${SIXGATE_CORPUS-$(abspath $(CORPUS))}" go test -tags e2e -timeout 60m -p 1 ./e2e/... ./cmd/webhook
	SIXGATE_CORPUS="$${SIXGATE_CORPUS-$(abspath $(CORPUS))}" go test -count=1 -run TestFixCorpus ./cmd/sixgate
	go test -tags e2e -run TestClusterLeaks ./cmd/sixgate
	cd tools/release && go test -tags e2e -timeout 60m ./...

# The oldest version of Kubernetes that is supported; the first run builds it.
e2e-oldest: tools
	SIXGATE_KUBERNETES=oldest go run ./e2e/demo -prepare
	SIXGATE_KUBERNETES=oldest go test -tags e2e -timeout 60m -p 1 \
		-run '^(TestCases|TestConditions|TestGuard|TestFamiliesOverride|TestService.*|TestPod.*|TestHostPort|TestDeploymentPredates|TestCustomResources|TestChart|TestUpgradeFrom)$$' \
		./e2e ./e2e/cluster ./e2e/chart

# The pictures of docs/audit.md, by headless Chromium.
screenshots:
	@sh e2e/requirements.sh
	mkdir -p docs/images
	SIXGATE_SCREENSHOTS="$(CURDIR)/docs/images" go test -count=1 -tags e2e -run TestScreenshots ./e2e/html

generate:
	go run ./tools/generate

# The chart as it is now, for the test that upgrades from it: at each release, with the version that is released.
VERSION =
freeze-chart:
	@test -n "$(VERSION)" || { echo "say which: make freeze-chart VERSION=0.1.0"; exit 1; }
	GOWORK=off go tool -modfile=tools/helm3/go.mod helm package charts/sixgate --version "$(VERSION)" --app-version "v$(VERSION)" -d e2e/chart/testdata

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt -w on these files"; exit 1; }
	go vet -tags e2e ./...
	go tool -modfile=tools/lint/go.mod staticcheck -tags e2e ./...
	@# G104: errors of closing what was only read, and of writers that keep theirs. G304: the command line opens the files that it is given.
	go tool -modfile=tools/lint/go.mod gosec -quiet -exclude=G104,G304 ./cmd/... ./pkg/...

# The race detector, without the longest tests, which have one goroutine. RACE_SKIP='^$$': all.
RACE_SKIP = ^(TestLaws|TestInactive|TestUnread|TestAuditOnly|TestIndexSize|TestLarge|TestNginxSurvives|TestLimits|TestBombs|TestScripts|TestFixCorpus|TestFixInterrupted|TestBaselineOfAll|TestBar|TestSummary|TestGitLab|TestAction)$$
race:
	go test -race -short -skip '$(RACE_SKIP)' ./pkg/... ./cmd/...

# Known faults of what is linked. Needs https://vuln.go.dev, and says so where it is out of reach; the release does not go on with findings.
vulnerabilities:
	@sh tools/vulnerabilities.sh

# Never in CI: the figures of docs/benchmarks.md. Sixgate beside its peers; the first run builds those, about 15 minutes on 2 idle
# cores, later ones take less than 20 minutes. BENCH="-short": to see that it works; BENCH="-input DIR -large": docs/benchmarks.md.
BENCH =
bench: tools
	@mkdir -p bin docs/benchmarks-output
	go build -C bench -o ../bin/bench .
	nice -n 15 bin/bench -prepare $(BENCH)
	bin/bench -out docs/benchmarks-output/peers.md $(BENCH)

# The handler and the parsers alone.
bench-handler:
	go test -run '^$$' -bench . -benchmem ./cmd/webhook ./pkg/...

# What can be fuzzed, for a minute each.
fuzz:
	sh tools/fuzz.sh 60s ./pkg/... ./cmd/... ./tools/generate

# The same in less than three minutes, without the commands: to instrument all that they import takes longer than that.
fuzz-ci:
	sh tools/fuzz.sh 5s ./pkg/...

.PHONY: tools
tools:
	@command -v go >/dev/null || { echo "Go 1.26 or newer is needed: https://go.dev/dl"; exit 1; }
	@command -v ip >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get install -y -qq iproute2 >/dev/null; } || { echo "iproute2 is needed: apt-get install iproute2"; exit 1; }
