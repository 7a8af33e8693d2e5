# Two commands: `make paper` and `make test`. Both first make .venv from the exact versions in lock/, which needs
# Python 3.11 or newer:  make PYTHON=python3.12 paper
PYTHON ?= python3
# torch has several builds, so it has no hash. To choose one:  make TORCH="torch==2.13.0 --index-url ..." paper
TORCH ?= -r lock/torch.txt
# Test files side by side; each process is 1 GB.
JOBS ?= 2
# What the tests need; the others are tools of development.
EXTRAS := lab,synthetic,formats,cluster,test
SHELL := /bin/bash
BIN := .venv/bin
comma := ,
PYTEST = -m pytest -n $(JOBS) --dist loadfile $(ARGS)

.PHONY: paper docs docs-links test browser lab solutions bad-input fuzz bench bench-busy bench-browser bench-fields bench-scale discovery-bench sex-table held map-judge networks picture zoo \
  rebuild lint types lowest newest relock clean

# Two threads of torch that share a busy core wait for each other; processes side by side do not.
paper test browser bench-browser lowest newest bad-input zoo: export OMP_NUM_THREADS := 1

# What the two commands say first, also while packages are still to be installed.
docs.plan := make docs builds the documentation, after make paper where paper/ is not up to date
paper.plan := make paper runs the notebooks side by side and writes paper/: about 10 minutes on two idle cores
test.plan := make test runs the tests, $(JOBS) files side by side: about 5 minutes on two idle cores

paper: .venv/.ready
	@echo "$(paper.plan)."
	$(BIN)/python -m ecgwb paper

# The documentation, build/docs/html, from the notebooks as make paper executed them. Every warning is an error, a link
# within that leads nowhere, too.
SPHINX = $(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -c notebooks/docs
docs: .venv/.ready paper/index.html
	@echo "make docs builds the pages from paper/: a minute. No notebook is run for them."
	$(BIN)/python notebooks/docs/gather.py build/docs/source
	$(SPHINX) -b html build/docs/source build/docs/html
	@echo "build/docs/html/index.html"

# Whether the pages that the documentation points to elsewhere are there; needs the network.
docs-links: docs
	$(SPHINX) -b linkcheck build/docs/source build/docs/links

# Made again where a notebook has changed since.
paper/index.html: $(wildcard notebooks/0*.ipynb) | .venv/.ready
	$(MAKE) paper

test: .venv/.ready
	@echo "$(test.plan)."
	$(BIN)/python $(PYTEST)

# The explorer in JupyterLab and Debian's chromium (apt-get install chromium).
browser: .venv/.ready
	ECGWB_BROWSER=required timeout 600 $(BIN)/python -m pytest tests/explorer/test_browser.py

# How long the explorer takes in the browser; writes the table of tests/bench/browser.md.
bench-browser: .venv/.ready
	rm -f tests/bench/browser.md
	ECGWB_BROWSER=required ECGWB_TIMES=tests/bench/browser.md $(BIN)/python -m pytest tests/explorer/test_browser.py -k each_step

lab: .venv/.ready
	$(BIN)/jupyter lab notebooks

# The lessons with their answers, for a teacher, into solutions/.
solutions: .venv/.ready
	cd notebooks && ../$(BIN)/python -m studies.solutions

# Writes the table of tests/adversarial/bad_input.md, what happens to bad input, anew.
bad-input: .venv/.ready
	$(BIN)/python tests/adversarial/bad_input.py

# Minutes: altered recordings and bent cohorts by the thousand; writes the table of tests/adversarial/fuzz.md.
fuzz: .venv/.ready
	$(BIN)/python tests/adversarial/fuzzing.py --recordings 5000 --files 1000 --calls 1000 --table tests/adversarial/fuzz.md

# One table of this machine; each tests/bench/bench_*.py prints more by itself.
bench: .venv/.ready
	PYTHONPATH=notebooks $(BIN)/python tests/bench/bench_landmarks.py
	$(BIN)/python tests/bench/bench_profile.py --table tests/bench/profile.md
	PYTHONPATH=notebooks $(BIN)/python tests/bench/bench.py --table tests/bench/bench.md

# The same beside two processes that compute without a pause.
bench-busy: .venv/.ready
	PYTHONPATH=notebooks $(BIN)/python tests/bench/bench.py --busy 2 --table tests/bench/bench_busy.md

# Slow, and resumed after a kill: its table is committed in notebooks/receptive_fields.csv.
bench-fields: .venv/.ready
	$(BIN)/python tests/bench/bench_fields.py

# Hours, resumed after a kill: what becomes of a hundred networks that no one here wrote; writes tests/zoo/zoo.md.
zoo: .venv-zoo/.ready
	.venv-zoo/bin/python tests/zoo/zoo.py $(ARGS)

# An hour on two idle cores and 8 GB of disk; writes the tables of tests/bench/bench_scale.md and bench_beats.md.
bench-scale: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/bench_beats.py --table tests/bench/bench_beats.md
	$(BIN)/python tests/bench/bench_cohorts.py --records 0 --sizes 500 2000 20000 --table tests/bench/bench_scale.md

# An hour or two; killed, it goes on where it was. Options: make discovery-bench ARGS="--runs 2 --plants 'V2 x V5'"
discovery-bench: .venv/.ready
	cd notebooks && ../$(BIN)/python -m studies.discovery_bench $(ARGS)

# A shipped network, minutes to hours; what is there stays. make networks ARGS="compact-sex", or another of its names.
networks: .venv/.ready
	cd notebooks && ../$(BIN)/python -m studies.training $(ARGS)

# The picture in the README, notebooks/cohort_map_qt.png.
picture: .venv/.ready
	cd notebooks && ../$(BIN)/python -m studies.picture

# What tells sex from an ECG, on all of PTB-XL and LUDB; minutes.
sex-table: .venv/.ready
	cd notebooks && ../$(BIN)/python -m studies.sex_table $(ARGS)

# What maps of every kind tell of joint edits, on LUDB and fold 10; half an hour of a core.
map-judge: .venv/.ready
	cd notebooks && ../$(BIN)/python -m studies.map_judge $(ARGS)

# Features of sex, age and a diagnosis, found on PTB-XL, tested on fold 10 and LUDB; some five minutes for each.
held: .venv/.ready
	cd notebooks && ../$(BIN)/python -m studies.held $(ARGS)

# Hours: networks, tables and studies that stand on landmarks, made anew in order where the landmarks have changed.
rebuild: .venv/.ready
	cd notebooks && ../$(BIN)/python -m studies.rebuild $(ARGS)

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.ready
	$(BIN)/mypy

# ---------------------------------------------------------------- what is installed

# Of pip's hundreds of lines one for every 20 packages, and all from its first error on. $(1): "of" how many.
PROGRESS = awk '/^ERROR|^error/ { bad = 1 } bad { print; next } \
  /^(Collecting|Processing)/ && ++n % 20 == 0 { print "  " n " packages $(1)"; fflush() } \
  /^Installing collected/ { print "  all there; puts them in place"; fflush() }'

# $(1): the environment's folder. $(2): the file of exact versions. $(3): pip's options for it.
define install
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed, {sys.executable} is {v[0]}.{v[1]}; choose another: make PYTHON=python3.12 ...")'
	@echo "Installs $$(grep -c == $(2)) packages and torch into $(1) first: about 2 minutes on a good line. Then: $(or $($(firstword $(MAKECMDGOALS) paper).plan),$(MAKECMDGOALS))."
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@set -o pipefail; $(1)/bin/python -m pip install --no-compile --no-deps $(3) -r $(2) 2>&1 | $(call PROGRESS,of $(shell grep -c == $(2)))
	@echo "  torch: 200 MB, or some GB where it comes with CUDA"
	@$(1)/bin/python -m pip install --no-compile $(TORCH)
	@$(1)/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
endef

.venv/.ready: lock/packages.txt lock/torch.txt pyproject.toml
	$(call install,.venv,lock/packages.txt,--require-hashes)
	@touch $@

.venv-zoo/.ready: tests/zoo/requirements.txt lock/packages.txt lock/torch.txt pyproject.toml
	$(call install,.venv-zoo,lock/packages.txt,--require-hashes)
	@.venv-zoo/bin/python -m pip install --quiet --no-compile --no-deps -r $<
	@touch $@

# The lowest versions that pyproject.toml allows (Python 3.11 or 3.12 has wheels of them), and the newest there are:
# all tests, each in an environment of its own.
lowest.plan = make lowest runs all tests with them
lowest:
	$(call install,.venv-lowest,lock/lowest.txt,)
	.venv-lowest/bin/python $(PYTEST)

newest:
	@echo "Installs the newest packages and torch into .venv-newest first: about 2 minutes on a good line. Then: make newest runs all tests with them."
	@test -x .venv-newest/bin/python || $(PYTHON) -m venv .venv-newest
	@set -o pipefail; .venv-newest/bin/python -m pip install --upgrade --upgrade-strategy eager --no-compile $(TORCH) -e '.[$(EXTRAS)]' 2>&1 | $(call PROGRESS,found)
	.venv-newest/bin/python $(PYTEST)

# Renews lock/ from pyproject.toml, for Python 3.11 to 3.13 on Linux and macOS. UPGRADE= keeps what is locked and only
# adds or drops what pyproject.toml does. Packages that come with one build of torch only are not locked.
UPGRADE ?= --upgrade
COMPILE = .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --annotation-style line \
  --no-header --no-emit-package torch --constraint lock/torch.txt pyproject.toml
relock:
	@echo "Renews lock/packages.txt and lock/lowest.txt: about half a minute. Afterwards: make test lowest newest"
	@test -x .venv-lock/bin/python || $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --upgrade uv
	$(COMPILE) --all-extras $(UPGRADE) --fork-strategy fewest --generate-hashes -o lock/packages.txt >/dev/null
	$(COMPILE) $(addprefix --extra ,$(subst $(comma), ,$(EXTRAS))) --upgrade --resolution lowest-direct -o lock/lowest.txt >/dev/null
	for file in packages lowest; do awk 'BEGIN { print "# Written by make relock." } \
	  /^[a-z]/ { keep = !/^(nvidia-|cuda-|triton=)/ } /^#/ { keep = 0 } keep' lock/$$file.txt >lock/kept && mv lock/kept lock/$$file.txt; done

clean:
	rm -rf .venv .venv-lowest .venv-newest .venv-zoo .venv-lock paper build/docs
