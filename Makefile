# Everything runs in .venv, made from constraints.txt; no system package is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXAMPLE := examples/har_smartwatch

.PHONY: demo test test-all lint types schema reference fuzz fuzz-code kernel-costs targets-table bench \
        bench-instructions bench-host bench-backends bench-crossover bench-scaling \
        bench-compression clean

demo: $(VENV)/.ready
	@echo '$$ l2mu-compile compile $(EXAMPLE)/har.ckpt --target cortex-m4 --quantize int8 \'
	@echo '      --calibrate $(EXAMPLE)/calibration.npz -o out/har'
	@$(BIN)/l2mu-compile compile $(EXAMPLE)/har.ckpt --target cortex-m4 --quantize int8 \
	    --calibrate $(EXAMPLE)/calibration.npz -o out/har
	@echo
	@echo '$$ l2mu-compile verify out/har --data $(EXAMPLE)/heldout.npz'
	@$(BIN)/l2mu-compile verify out/har --data $(EXAMPLE)/heldout.npz

test: $(VENV)/.ready
	$(BIN)/pytest -n auto --dist worksteal -m 'not slow'

test-all: $(VENV)/.ready
	$(BIN)/pytest -n auto --dist worksteal --hypothesis-profile unshrunk --durations 40

# Every reader of files on changed inputs, so many seconds each.
SECONDS ?= 60
fuzz: $(VENV)/.ready
	SECONDS=$(SECONDS) $(BIN)/pytest -n auto tests/fuzz -m slow

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# passes/ and targets/ are subpackages only once installed, so types are checked on an installed copy.
types: $(VENV)/.ready
	rm -rf build/typed
	$(BIN)/pip install --quiet --no-deps --target build/typed .
	MYPYPATH=build/typed $(BIN)/mypy --package l2mu_compile

schema: $(VENV)/.ready
	$(BIN)/python -m l2mu_compile.report > l2mu_compile/report.schema.json

# docs/commands.md and docs/api.md, from what the code says.
reference: $(VENV)/.ready
	$(BIN)/python docs/reference.py

# Generated code under fuzzers, so many seconds in all; needs clang with libFuzzer. KEEP=--keep puts inputs
# that reach new code into tests/targets/fuzz_corpus.
fuzz-code: $(VENV)/.ready
	$(BIN)/python tests/fuzzing.py $(SECONDS) $(KEEP)

# Minutes: every kernel on every target whose instructions are counted; what select-kernels decides by.
kernel-costs: $(VENV)/.ready
	$(BIN)/python benchmarks/measure_kernels.py

# Minutes: the example for every target, run; the table of README.md.
targets-table: $(VENV)/.ready
	$(BIN)/python benchmarks/targets.py

# The figures of docs/benchmarks.md: minutes each.
bench: bench-instructions bench-host bench-backends bench-crossover bench-scaling

bench-instructions: $(VENV)/.ready
	$(BIN)/python benchmarks/instructions.py
	$(BIN)/python benchmarks/quiet.py

bench-host: $(VENV)/.ready
	$(BIN)/python benchmarks/host.py

bench-backends: $(VENV)/.ready
	$(BIN)/python benchmarks/backends.py

bench-crossover: $(VENV)/.ready
	$(BIN)/python benchmarks/crossover.py

bench-scaling: $(VENV)/.ready
	$(BIN)/python benchmarks/scaling.py

# An hour: trains; needs train.npz (examples/har_smartwatch/README.md). The table of docs/compression.md.
bench-compression: $(VENV)/.ready
	$(BIN)/python benchmarks/compression.py

# The metrics of neurobench, which a test compares ours with, need nothing of what it requires for its
# data sets (torchaudio, numba, tonic).
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps neurobench
	touch $@

clean:
	rm -rf $(VENV) build out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
