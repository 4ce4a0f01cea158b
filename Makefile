# `make run` and `make test` do all set-up themselves, on a Debian machine with Rust, Python 3.11 or newer and gcc.

PYTHON ?= python3
VENV := $(CURDIR)/.venv
VENV_PYTHON := $(VENV)/bin/python

# The interpreter that the program embeds is the one of the virtual environment.
export VIRTUAL_ENV := $(VENV)
export PYO3_PYTHON := $(VENV_PYTHON)

.PHONY: run test setup fmt lint bless bench wheels clean

# Serves examples/django under the layers of pipeline.json, from the installed wheel.
# The wheel is installed from here; a change of a source builds it anew.
run: $(VENV)/.wheel
	$(VENV_PYTHON) examples/django/manage.py prepare --demo
	$(VENV)/bin/ziggurat run pipeline.json

# Everything that must hold before a change lands. The builds of the tests have the optional parts (features), and the second line has none.
test: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --package ziggurat --lib --bins -- -D warnings
	tools/nextest --workspace
	cargo test --workspace --doc
	$(VENV_PYTHON) -m unittest discover -s tests/wheel

# A virtual environment with the applications that tests and examples use.
setup: $(VENV)/.installed

$(VENV)/.installed: requirements-test.txt
	tools/system-packages $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@

$(VENV)/.wheel: $(VENV)/.installed $(shell find src middleware/src python -type f -not -path '*/__pycache__/*') Cargo.toml Cargo.lock pyproject.toml
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check .
	touch $@

fmt:
	cargo fmt --all

# Rewrites what is generated: the schema, the reference pages, the snapshots.
bless: setup
	ZIGGURAT_BLESS=1 INSTA_UPDATE=always tools/nextest --workspace

bench: setup
	cargo bench --workspace
	cargo build --release
	$(VENV_PYTHON) bench/run.py

# A wheel for every CPython that is here, each tried in a fresh environment.
wheels: setup
	$(VENV_PYTHON) tools/wheels

clean:
	rm -rf target $(VENV)
