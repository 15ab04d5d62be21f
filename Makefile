# Every target does its whole set-up: the virtual environment, llama.cpp, the extension. The second time it is quick.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# llama.cpp's switches are those of the last build unless others are given; CMAKE_ARGS= gives none.
CMAKE_ARGS ?= $(shell cat $(VENV)/cmake-args 2>/dev/null)
export CMAKE_ARGS
PIP := $(PY) -m pip --disable-pip-version-check --quiet
TRAIN := $(VENV)/train
CLIENTS := $(VENV)/clients
OTHERS := "litellm>=1.106,<2" "langchain-openai>=1.7,<2" "anthropic>=0.70,<2" "schemathesis>=4.32,<5" "llm-comply>=0.5,<1" "lm-eval[api]>=0.4.9,<1" "llm>=0.27,<1" "httpcore>=1.0.9"
CURVES := nano-llada nano-dream
TESTS ?= tests
JOBS ?= auto

.DEFAULT_GOAL := help
.PHONY: help serve test test-long test-clients test-train models build lint asan bench bench-curves pack clean
.DELETE_ON_ERROR:

help:
	@echo "make serve                                 start the server with the embedded models"
	@echo "make serve MODEL=model.gguf PROMPT='...'   answer in the terminal"
	@echo "make test [TESTS=tests/unit] [JOBS=1]      build what changed and run the tests"
	@echo "make test-long                             lives, kills, damaged files in full numbers, stock tools, and a soak of ten minutes"
	@echo "make test-train                            a minute of training the embedded models, checked (fetches torch)"
	@echo "make models [RUNS=folder]                  train the embedded models again from the seed (hours)"
	@echo "make test-clients                          LiteLLM, LangChain and others against the server (fetches them)"
	@echo "make build                                 only build"
	@echo "make lint                                  ruff, cython-lint, mypy, the stubs against the modules"
	@echo "make asan                                  our C and Cython under the address and undefined-behaviour sanitizers"
	@echo "make bench                                 the benchmarks"
	@echo "make bench-curves                          accuracy against speed for every plan and rule (hours)"
	@echo "make pack                                  the source of llama.cpp in one file, for a machine without network"
	@echo "make clean                                 remove what was built (keeps $(VENV) and the source of llama.cpp)"
	@echo "CMAKE_ARGS=-DGGML_CUDA=ON make build       the same for CUDA, from then on; CMAKE_ARGS= make build ends it"

# The prompt reaches the program as it was written: make expands nothing in it, and the shell sees it quoted.
serve: export ANSWER_TO := $(value PROMPT)
serve: export FROM_MODEL := $(value MODEL)
serve:
	@$(MAKE) --no-print-directory build
	@if test -n "$$FROM_MODEL"; then exec $(PY) -m hoshikage run "$$FROM_MODEL" $${ANSWER_TO:+"$$ANSWER_TO"}; \
		else exec $(PY) -m hoshikage serve; fi

# Files are shared out whole, so that what one of them starts for all its tests (a server, a model) is started once.
test: build
	@$(PY) -m pytest --numprocesses $(JOBS) --maxprocesses 8 --dist loadfile $(TESTS)

# What the other tests do a few times, in the numbers that the project promises, and what takes long to build. SOAK_SECONDS=3600 soaks for an hour.
LONG_TESTS := tests/unit/test_manager.py tests/unit/test_manager_laws.py $(wildcard tests/model/test_manager*.py) tests/model/test_stock_tools.py tests/server/test_soak.py
SOAK_SECONDS ?= 600
test-long: build
	@HOSHIKAGE_TEST_LONG=1 SOAK_SECONDS=$(SOAK_SECONDS) $(PY) -m pytest $(LONG_TESTS)

# Other people's clients, in a virtual environment of their own: they bring half of PyPI along.
test-clients: build
	@test -x $(CLIENTS)/bin/python || $(PYTHON) -m venv $(CLIENTS)
	@$(CLIENTS)/bin/python -m pip --disable-pip-version-check --quiet install $(OTHERS)
	@CLIENTS_PYTHON=$(CURDIR)/$(CLIENTS)/bin/python $(PY) -m pytest tests/clients

# A virtual environment of its own: torch is large, and nothing else here may come to need it.
test-train: build $(TRAIN)/ready
	@$(TRAIN)/bin/python -m pytest tests/train

# From the seed, each in one run from what it is grown from. Killed at any time, the same command goes on; what would not
# be one run (another recipe, other data) is refused. RUNS=folder leaves the runs that there are alone.
RUNS ?= training/runs
models: build $(TRAIN)/ready
	@for name in $$($(TRAIN)/bin/python -c 'from training.recipe import RECIPES; print(*RECIPES)'); do \
		$(TRAIN)/bin/python -m training.train $$name --runs "$(RUNS)" --compile \
		&& $(TRAIN)/bin/python -m training.export $$name --runs "$(RUNS)" \
		&& $(TRAIN)/bin/python -m training.card $$name --runs "$(RUNS)" || exit; done

build: $(VENV)/ready
	@$(PY) setup.py --quiet build_ext --inplace
	@printf '%s' "$$CMAKE_ARGS" > $(VENV)/cmake-args
	@test "$$(cat $(VENV)/installed 2>/dev/null)" = "$(CURDIR)" || { PYTHONWARNINGS=ignore \
		$(PIP) install --no-build-isolation --no-deps --editable . && printf '%s' "$(CURDIR)" > $(VENV)/installed; }

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "hoshikage: $(PYTHON) is missing or older than Python 3.11. Install one (apt install python3) or say make PYTHON=..."; exit 1; }
	@$(PYTHON) llama.cpp machine
	@echo "hoshikage: setting up $(VENV)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) llama.cpp requirements > $(VENV)/requirements.txt
	@$(PIP) install --requirement $(VENV)/requirements.txt
	@rm -f $(VENV)/installed
	@touch $@

$(TRAIN)/ready: pyproject.toml $(VENV)/ready
	@echo "hoshikage: setting up $(TRAIN)"
	@test -x $(TRAIN)/bin/python || $(PYTHON) -m venv $(TRAIN)
	@$(PY) llama.cpp requirements --train > $(TRAIN)/requirements.txt
	@$(TRAIN)/bin/python -m pip --disable-pip-version-check --quiet install --requirement $(TRAIN)/requirements.txt
	@touch $@

lint: build
	@$(PY) -m pytest tests/house

# Python itself and llama.cpp are not instrumented: the sanitizers' runtime has to be there before them, and what Python
# keeps until the end is no leak of ours (the leaks of our C are looked for in tests/csrc).
ASAN := build/asan
ASAN_TESTS ?= tests/core tests/model/test_decode.py
asan: build
	@HOSHIKAGE_SANITIZE=1 $(PY) setup.py --quiet build --build-base $(ASAN) --build-lib $(ASAN)/lib
	@$(PY) -m pytest tests/csrc/test_sanitized.py
	@PYTHONPATH=$(ASAN)/lib $(PY) -P -c 'import hoshikage; assert "$(ASAN)" in hoshikage.__file__, hoshikage.__file__'
	@LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
		PYTHONMALLOC=malloc PYTHONPATH=$(ASAN)/lib $(PY) -P -m pytest --import-mode=append -p no:cacheprovider $(ASAN_TESTS)

# All of them, whatever one of them finds; make fails in the end if any did.
bench: build
	@began=$$(date +%s); missed=; \
		$(PY) -m pytest bench/bench_*.py -s || missed="pytest bench/bench_*.py"; \
		$(PY) bench/curves.py $(CURVES) --only none || missed="$${missed:+$$missed, }bench/curves.py --only none"; \
		took=$$(($$(date +%s) - began)); echo "make bench took $$((took / 60)) min $$((took % 60)) s"; \
		test $$took -le 1800 || missed="$${missed:+$$missed, }half an hour"; \
		test -z "$$missed" || { echo "make bench: not all figures are as asked, see above: $$missed"; exit 1; }

bench-curves: build
	@$(PY) bench/curves.py $(CURVES)

pack:
	@$(PYTHON) llama.cpp pack dist

clean:
	rm -rf build dist *.egg-info hoshikage/lib llama.cpp/build
	find hoshikage -name '*.so' -delete
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
