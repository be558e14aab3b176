SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help build run check test steady test-debian13 drill bench soak fuzz fmt deps screens

# Debian packages that the tests use; everything else comes with Go.
# A browser comes on top, and npm, which fetches axe, where nothing else brought it: see deps.
PACKAGES := gcc libc6-dev redis-server rabbitmq-server mariadb-server nginx curl systemd prometheus
PROGRAMS := gcc redis-server rabbitmq-server mariadbd nginx curl systemd-analyze promtool

help: ## print this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/seckill
	go build -o bin/seckill ./cmd/seckill

run: ## serve on embedded parts, with sales to try
	go run ./cmd/seckill serve --demo

fmt: ## format the Go code
	gofmt -w $$(git ls-files '*.go')

check: ## format, vet, lint and the quick tests, before each commit: half a minute when one package has changed; says what it leaves out
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	cd tools && go build -o ../bin/lint ./lint
	go vet -vettool=bin/lint ./...
	go vet -tags crash ./internal/crash
	go tool -modfile=tools/go.mod staticcheck ./...
	go run ./e2e/suite -check

test: deps ## everything that must hold: race detector, real engines, real browser; installs what it needs
	SECKILL_REQUIRE=1 go run ./e2e/suite

N := 10
steady: deps ## everything N times beside busy loops (N=10); writes docs/steady.md
	SECKILL_REQUIRE=1 go run ./e2e/suite -steady $(N)

test-debian13: ## what uses engines, on those of Debian 13 (Redis 8, Valkey 8, RabbitMQ 4, MariaDB 11.8, nginx 1.26); needs root
	tools/debian13

deps: ## install what the tests need, where it is missing (Debian, Ubuntu)
	@missing=; for p in $(PROGRAMS); do command -v $$p >/dev/null || missing=1; done; \
	command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || missing=1; \
	npm=; command -v npm >/dev/null || { npm=npm; missing=1; }; \
	if [ -n "$$missing" ]; then \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  command -v apt-get >/dev/null || { echo "install by hand: $(PACKAGES) chromium $$npm"; exit 1; }; \
	  $$sudo apt-get update -q || exit 1; \
	  browser=chromium; apt-cache show chromium-headless-shell >/dev/null 2>&1 && browser=chromium-headless-shell; \
	  $$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -yq --no-install-recommends $(PACKAGES) $$browser $$npm; \
	fi

drill: ## break every part 20 times in the middle of sales, kill a node 200 times, ask every route meanwhile; writes docs/drills.md
	go run ./e2e/drill --kills 200 --out docs/drills.md
	go run ./e2e/drill --engines --rounds 20 --out docs/drills.md
	go run ./e2e/drill --engines --routes --rounds 20 --out docs/drills.md
	go run ./e2e/drill --defended --kills 200 --out docs/drills.md
	go run ./e2e/drill --money --kills 200 --out docs/drills.md
	go run ./e2e/drill --engines --defended --rounds 20
	go test -count=1 -timeout 30m -run TestABalancer ./e2e -away 1m
	go test -count=1 -run TestAMillion ./internal/gate/redisgate -million
	go test -count=1 -timeout 30m -run TestWhoLooksAtALongOutboxInRedis ./e2e -looks 300000

screens: ## a picture of every page in every state, wide and narrow, light and dark, in both languages; writes docs/screens
	@fc-list :lang=zh | grep -q . || { echo "install fonts for Chinese and for pictures first, e.g.: apt-get install fonts-noto-cjk fonts-noto-color-emoji"; exit 1; }
	mkdir -p docs/screens
	go test -count=1 -timeout 1h -run TestScreens ./internal/web -screens=$(CURDIR)/docs/screens

bench: ## every figure of docs/benchmarks.md, against a bare net/http handler (needs wrk)
	go run ./e2e/bench -out docs/benchmarks.md
	go run ./e2e/bench -consoles -out docs/benchmarks.md
	go run ./e2e/bench -logins 2000 -out docs/benchmarks.md
	go run ./e2e/bench -audits -rounds 3 -out docs/benchmarks.md
	go run ./e2e/bench -engines -out docs/benchmarks.md
	go run ./e2e/bench -costs -out docs/scaling.md
	go test -run '^$$' -bench . -benchtime 2s ./internal/gate ./internal/api

soak: ## an hour of sales, with kills and faults of every part
	go run ./e2e/drill --duration 30m
	go run ./e2e/drill --engines --duration 30m

fuzz: ## every fuzz target for a minute
	@for pkg in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do go test -run '^$$' -fuzz "^$$f$$" -fuzztime 1m $$pkg || exit 1; done; \
	done
