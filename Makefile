# Two commands: `make paper` and `make test`. Both first make .venv, which needs Python 3.11 or newer.
PYTHON ?= python3
# Tried first, because this release was used for the shipped numbers; where it is not to be had, any torch >= 2.4 will do.
TORCH ?= torch==2.13.0
BIN := .venv/bin

.PHONY: paper test bad-input fuzz lowest browser lab bench bench-fields bench-scale discovery-bench sex-table lint types clean

paper: .venv/.ready
	$(BIN)/python -m ecgwb paper

test: .venv/.ready
	$(BIN)/python -m pytest

# The explorer in JupyterLab and Debian's chromium (apt-get install chromium).
browser: .venv/.ready
	$(BIN)/python -m pip install --quiet -e '.[browser]'
	ECGWB_BROWSER=required timeout 600 $(BIN)/python -m pytest tests/explorer/test_browser.py

lab: .venv/.ready
	$(BIN)/jupyter lab notebooks

# Writes the table of tests/adversarial/bad_input.md, what happens to bad input, anew.
bad-input: .venv/.ready
	$(BIN)/python tests/adversarial/bad_input.py

# Minutes: altered recordings and bent cohorts by the thousand; writes the table of tests/adversarial/fuzz.md.
fuzz: .venv/.ready
	$(BIN)/python tests/adversarial/fuzzing.py --recordings 5000 --calls 1000 --table tests/adversarial/fuzz.md

# The lowest versions that pyproject.toml allows, in an environment of their own, on the tests that need no extra.
lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet "$(TORCH)"
	.venv-lowest/bin/python -m pip install --quiet -c tests/lowest.txt -e . pytest hypothesis pyyaml
	.venv-lowest/bin/python -m pytest $(addprefix tests/test_,$(addsuffix .py,layout records cohorts alignment maps models \
	  attention features figures comparisons))

# One table of this machine; each tests/bench_*.py prints more by itself.
bench: .venv/.ready
	PYTHONPATH=notebooks $(BIN)/python tests/bench/bench_landmarks.py
	PYTHONPATH=notebooks $(BIN)/python tests/bench/bench.py --table tests/bench/bench.md

# Slow, and resumed after a kill: its table is committed in notebooks/receptive_fields.csv.
bench-fields: .venv/.ready
	$(BIN)/python tests/bench/bench_fields.py

# Half an hour on two idle cores and 8 GB of disk; writes the table of tests/bench/bench_scale.md.
bench-scale: .venv/.ready
	$(BIN)/python tests/bench/bench_cohorts.py --records 0 --sizes 500 2000 20000 --table tests/bench/bench_scale.md

# Hours; killed, it goes on where it was. Options: make discovery-bench ARGS="--runs 2 --nothing 20"
discovery-bench: .venv/.ready
	cd notebooks && ../$(BIN)/python -m studies.discovery_bench $(ARGS)

# An hour where sex-campaign.json is not there yet, seconds where it is.
sex-table: .venv/.ready
	cd notebooks && ../$(BIN)/python -m studies.sex_table $(ARGS)

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.ready
	$(BIN)/mypy

.venv/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed, {sys.executable} is {v[0]}.{v[1]}; choose another: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install --quiet "$(TORCH)" || true
	$(BIN)/python -m pip install --quiet -e '.[lab,synthetic,cluster,dev]'
	touch .venv/.ready

clean:
	rm -rf .venv paper
