# `make` alone lists what there is.
PYTHON ?= python3
BIN := .venv/bin
PEERS ?= pixtral llama.cpp mistral_inference transformers vllm

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check format bench docs record completions demo-model demo-eval demo-scores audit clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: .venv/runtime ## Install into .venv and ask the demo model about a picture
	$(BIN)/pixtral ask "What is in the image?" --image examples/shapes.png --model demo --no-stdin --no-log

test: .venv/development ## Run the tests (Python alone, under 15 minutes on two cores)
	$(BIN)/python -m pytest -n auto --dist loadfile

test-all: test .venv-vllm/ready .venv-triton/ready ## Run every test and the slow proofs; installs zsh, fish, chromium, ImageMagick, Ghostscript, libheif, typefaces (apt), vLLM and Triton
	wanted="$$(for tool in zsh fish chromium qemu-user:qemu-aarch64 gcc-aarch64-linux-gnu:aarch64-linux-gnu-gcc imagemagick:convert ghostscript:gs libheif-examples:heif-enc; do command -v $${tool#*:} >/dev/null || echo $${tool%:*}; done; $(BIN)/python -m demo.drawing.fonts)" && \
	if [ -n "$$wanted" ]; then apt-get update -qq && apt-get install -y -qq $$wanted; fi
	$(BIN)/python -m pytest -m slow --timeout 1800 -n 2 --dist loadfile

check: .venv/development ## Format, lint, types, stale generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python completions/generate.py --check

format: .venv/development ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/development ## Measure start-up, load, TTFT, decode, memory beside other programs; PEERS="pixtral llama.cpp" chooses, ISA=avx2 holds all to it
	-$(if $(filter vllm,$(PEERS)),$(MAKE) .venv-vllm/ready)
	-$(if $(filter llama.cpp,$(PEERS)),$(MAKE) .llama-cpp$(ISA:%=-%)/ready)
	$(BIN)/python -m benchmarks --peers $(PEERS) $(if $(ISA),--isa $(ISA)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(LARGE),--large)

docs: .venv/development ## Write the tables of docs/benchmarks.md and the README's chart again
	$(BIN)/python -m benchmarks --docs

record: .venv/development ## Play a chat with the demo and draw it: docs/chat.svg
	$(BIN)/python -m docs.record

completions: .venv/development ## Generate the shells' completion scripts
	$(BIN)/python completions/generate.py

demo-model: .venv/development ## Train the demo checkpoint
	$(BIN)/python -m demo.train

demo-eval: .venv/development ## Measure the demo checkpoint through the product's own engine
	$(BIN)/python -m demo.evaluate

demo-scores: .venv/development ## Measure the demo sets and print the table of docs/evals.md
	@$(BIN)/python -m demo.scores 2>/dev/null

audit: .venv/development ## Look for known vulnerabilities in the pinned packages
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit --strict --requirement constraints.txt --no-deps

clean: ## Remove the environment and the caches
	rm -rf .venv .venv-vllm .venv-triton .llama-cpp .llama-cpp-* .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

# The environment: torch first, then exactly the pinned packages. mistral_inference declares xformers, which
# has no wheel for many machines and which nothing here needs: --no-deps leaves it out.
.venv/runtime: constraints.txt pyproject.toml setup.py $(wildcard pixtral_cli/engines/local/kernels/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement constraints.txt
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

.venv/development: .venv/runtime constraints-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement constraints-dev.txt
	@touch $@

# The real vLLM, in an environment of its own: it pins other versions than ours.
.venv-vllm/ready: tests/engines/vllm/vllm-requirements.txt tests/engines/vllm/vllm_env.sh
	tests/engines/vllm/vllm_env.sh .venv-vllm $(PYTHON)

# Triton, whose interpreter and compiler prove the GPU kernels where there is no GPU. The tests' processes alone see it.
.venv-triton/ready: .venv/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv-triton triton==3.9.0
	@touch $@

# llama.cpp, compiled for this processor. What cannot be had is left out of the measurements, and named there.
.llama-cpp/ready: benchmarks/llama_cpp_env.sh
	benchmarks/llama_cpp_env.sh .llama-cpp $(BIN)/python

.llama-cpp-%/ready: benchmarks/llama_cpp_env.sh
	benchmarks/llama_cpp_env.sh .llama-cpp-$* $(BIN)/python $*
