# Needs Python 3.11 to 3.14 and make, nothing else. PYTHON names the interpreter to build the environment with.
PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 8080
RUNTIME_PYTHON ?= python3.13
# environments of their own: these commands pin old versions of what others need in new ones
TOOLS  ?= .tools
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
# an environment's packages are what the locks say; VIRTUAL_ENV tells uv which one
export VIRTUAL_ENV := $(abspath $(VENV))

.PHONY: help demo test serve layer lint environment tools lock clean

help:
	@echo "make demo   create the environment and run the whole system on sample photos"
	@echo "make test   create the environment, lint, check types and run the test suite"
	@echo "make serve  run the API on 127.0.0.1, PORT=8080, with a page to try it on and its description at /docs"
	@echo "make layer  build what template.yaml deploys; RUNTIME_PYTHON=python3.13 tries the layer and compiles all"
	@echo "make lint   ruff and mypy only"
	@echo "make tools  create the environments of commands that the tests run: SAM, checkov, an emulator, a fuzzer"
	@echo "make lock   renew the locks in requirements/"
	@echo "make clean  remove the environment and everything built"

demo: $(VENV)/.installed
	$(BIN)/python -m examples.demo --output demo-output

# two at a time: most of the time goes into starting clusters and servers, and waiting for them
test: environment lint tools $(VENV)/.browser
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

serve: $(VENV)/.installed
	$(BIN)/python -m examples.serve --port $(PORT)

layer: $(UV)
	$(BIN)/python layers/build_layer.py --uv $(UV) --python $(RUNTIME_PYTHON) --output build

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the tests start Python hundreds of times, and where PYTHONDONTWRITEBYTECODE is set each start would compile what it
# imports; the demo is sooner done without
environment tools $(VENV)/.browser: export UV_COMPILE_BYTECODE := 1

environment: $(VENV)/.installed $(VENV)/.torch

tools: $(foreach name,sam checkov cloud fuzz,$(TOOLS)/$(name)/.installed)

$(TOOLS)/%/.installed: requirements/tools/%.lock $(UV)
	$(UV) venv --quiet --clear --python $(BIN)/python $(TOOLS)/$*
	VIRTUAL_ENV=$(abspath $(TOOLS)/$*) $(UV) pip install --quiet --require-hashes -r $<
	@touch $@

$(UV):
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14) and "the packages in requirements/ are built for Python 3.11 to 3.14, this is %d.%d: set PYTHON=python3.13, say" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"

$(VENV)/.installed: $(UV) requirements/dev.lock pyproject.toml
	$(UV) pip install --quiet --require-hashes -r requirements/dev.lock
	$(UV) pip install --quiet --no-deps --editable .
	@touch $@

# pip and not uv: machines may offer torch as a file of their own, which pip finds
$(VENV)/.torch: $(VENV)/.installed requirements/torch.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/torch.txt
	@touch $@

# beside the rest: the demo and the commands go without
$(VENV)/.browser: $(VENV)/.installed requirements/browser.lock
	$(UV) pip install --quiet --require-hashes -r requirements/browser.lock
	@touch $@

lock: $(UV)
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
		--extra dev pyproject.toml -o requirements/dev.lock
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
		--extra lambda -c requirements/dev.lock pyproject.toml -o requirements/layer.lock
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
		--extra cluster -c requirements/dev.lock pyproject.toml -o requirements/batch.lock
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
		--extra cluster -c requirements/batch.lock --override requirements/gpu.override pyproject.toml requirements/gpu.in \
		-o requirements/batch-gpu.lock
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
		-c requirements/dev.lock requirements/browser.in -o requirements/browser.lock
	for name in sam checkov cloud fuzz; do $(UV) pip compile --quiet --upgrade --universal --generate-hashes \
		--python-version 3.11 requirements/tools/$$name.in -o requirements/tools/$$name.lock || exit 1; done

clean:
	rm -rf $(VENV) $(TOOLS) build dist demo-output .mypy_cache .ruff_cache .pytest_cache .hypothesis
