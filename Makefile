.PHONY: demo demo-stop test unit e2e build image release-dry-run screenshots generate lint bench bench-handler fuzz

# The main job on a real IPv6-only API server; the cluster stays up until `make demo-stop`.
demo: tools
	go run ./e2e/demo

demo-stop:
	go run ./e2e/demo -stop

# All tests: unit tests, then the tests on real API servers, nginx and the rest.
test: tools lint unit e2e

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
release-dry-run:
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
	cd tools/release && go test -tags e2e -timeout 60m ./...

# The pictures of docs/audit.md, by headless Chromium.
screenshots:
	@sh e2e/requirements.sh
	mkdir -p docs/images
	SIXGATE_SCREENSHOTS="$(CURDIR)/docs/images" go test -count=1 -tags e2e -run TestScreenshots ./e2e/html

generate:
	go run ./tools/generate

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt -w on these files"; exit 1; }
	go vet -tags e2e ./...
	go tool -modfile=tools/lint/go.mod staticcheck -tags e2e ./...

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

fuzz:
	go test -run '^$$' -fuzz FuzzNginx -fuzztime 60s ./pkg/listen
	go test -run '^$$' -fuzz FuzzFiles -fuzztime 60s -fuzzminimizetime 3x ./pkg/listen
	go test -run '^$$' -fuzz FuzzProcess -fuzztime 60s -fuzzminimizetime 3x ./pkg/listen
	go test -run '^$$' -fuzz FuzzRead -fuzztime 60s -fuzzminimizetime 3x ./pkg/sockets
	go test -run '^$$' -fuzz FuzzReadPolicy -fuzztime 60s -fuzzminimizetime 3x ./pkg/rules
	go test -run '^$$' -fuzz FuzzRead -fuzztime 60s -fuzzminimizetime 3x ./pkg/manifest
	go test -run '^$$' -fuzz FuzzSplice -fuzztime 60s -fuzzminimizetime 3x ./pkg/manifest

.PHONY: tools
tools:
	@command -v go >/dev/null || { echo "Go 1.26 or newer is needed: https://go.dev/dl"; exit 1; }
	@command -v ip >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get install -y -qq iproute2 >/dev/null; } || { echo "iproute2 is needed: apt-get install iproute2"; exit 1; }
