# Every target sets up its own virtual environment first. PYTHON picks the interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv-$(notdir $(PYTHON))
BIN = $(VENV)/bin
WHEEL ?= dist

# The compilation cache saves half a minute at the second start of anything.
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax

.PHONY: help gan test test-slow tools lint docs wheel

help:
	@echo "make gan        train a DCGAN on 4,500 MNIST digits (2 to 4 minutes on 2 CPU cores) and name the picture"
	@echo "                flags: make gan FLAGS='--loss hinge --num-steps 1000'"
	@echo "make test       the fast tests"
	@echo "make test-slow  the long ones"
	@echo "make lint       ruff and pyright"
	@echo "make docs       the documentation, into site/"
	@echo "make wheel      build a wheel, install it alone and try it"

gan: $(VENV)/ready
	$(BIN)/python -m experiments.gan $(FLAGS)

test: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 $(FLAGS)

test-slow: $(VENV)/ready
	$(BIN)/python -m pytest -m slow $(FLAGS)

# pyright fetches Node.js where there is none.
tools: $(VENV)/ready
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,docs]'
	PATH="$(abspath $(BIN)):$$PATH" pyright --version

lint: tools
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && PATH="$(abspath $(BIN)):$$PATH" pyright

docs: tools
	$(BIN)/mkdocs build --strict

# The README's lines run with what the wheel installs by itself: no extra, and no checkout around.
wheel: $(VENV)/ready
	rm -rf $(WHEEL) && mkdir -p $(WHEEL)
	$(BIN)/python -m pip wheel -q --no-deps -w $(WHEEL) .
	$(PYTHON) -m venv $(WHEEL)/alone
	$(WHEEL)/alone/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt $(WHEEL)/jaxgan-*.whl
	sed -n '/^```python/,/^```/{/^```/d;p}' README.md > $(WHEEL)/readme.py
	cd $(WHEEL) && alone/bin/python -I readme.py
	cd $(WHEEL) && alone/bin/python -I -m experiments
	cd $(WHEEL) && alone/bin/python -I -c "import jaxgan; from importlib.resources import files; \
		assert all(files(jaxgan).joinpath(name).is_file() for name in ('py.typed', 'runs/page.html')); print(jaxgan.__version__)"

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "jaxgan needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[experiments,test]'
	@touch $@
