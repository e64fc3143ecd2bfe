# nbpeft: what a newcomer and CI type. Every target does its own set-up; `make` alone lists them.
PYTHON ?= python3

# One environment for everything but the two suites that test another: Colab's packages, and Binder's steps.
VENV  := .venv
COLAB := .venv-colab
PY    := $(VENV)/bin/python
READY := $(VENV)/.ready-$(shell cat pyproject.toml constraints.txt tools/*.sh | cksum | cut -d' ' -f1)
COLAB_READY := $(COLAB)/.ready-$(shell cat pyproject.toml constraints-colab.txt tools/*.sh | cksum | cut -d' ' -f1)

NOTEBOOKS := $(wildcard notebooks/*.ipynb)
PICTURES  := one-cell form live comparison panel
SUITES    := unit train notebooks browser colab binder

# Small matrices: two threads at most, and none of them spinning while it waits.
export OMP_NUM_THREADS ?= 2
export OMP_WAIT_POLICY ?= PASSIVE

# The tiny model gains less from a second thread than the tests from a second process.
PARALLEL = OMP_NUM_THREADS=1 $(PY) -m pytest -q -n auto --maxprocesses 4 --dist worksteal

.PHONY: help venv demo lab labextension test pictures $(SUITES:%=test-%) check bench bench-fit bench-gpu clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(READY) ## set up .venv (the other targets do it by themselves)

$(READY): export PYTHON := $(PYTHON)
$(READY):
	@sh tools/venv.sh $(VENV) constraints.txt '[test,lab,quantize]'
	@rm -f $(VENV)/.ready-*; touch $@

$(COLAB_READY): export PYTHON := $(PYTHON)
$(COLAB_READY):
	@sh tools/venv.sh $(COLAB) constraints-colab.txt '[quantize]' pytest pytest-timeout jupyter_client
	@rm -f $(COLAB)/.ready-*; touch $@

demo: venv ## run the quickstart notebook headless and print what it compared
	@$(PY) notebooks/run.py

lab: venv ## open JupyterLab on notebooks/
	@$(PY) -m jupyterlab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

labextension: venv ## build JupyterLab's part anew (needs Node 20); what is built is committed
	@cd labextension && npm ci --ignore-scripts --no-audit --no-fund && rm -rf built && \
	  PATH="$(CURDIR)/$(VENV)/bin:$$PATH" npm run build
	@$(PY) tools/labextension.py
	@$(PY) -m pip install -qq --no-deps -e .

test: ## run every suite below; fails at the end if any failed
	@failed=; for suite in $(SUITES); do \
	  echo "== $$suite"; $(MAKE) --no-print-directory test-$$suite || failed="$$failed $$suite"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

test-unit: venv ## everything that needs no training
	@$(PARALLEL) tests/unit

test-train: venv ## the tiny model, every legal method and objective, two steps each
	@$(PARALLEL) tests/train

test-notebooks: venv ## every notebook run again, its outputs compared (nbval), and the demo
	@rm -rf build/notebooks
	@for notebook in $(NOTEBOOKS:notebooks/%.ipynb=%); do \
	  mkdir -p build/notebooks/$$notebook && cp notebooks/$$notebook.ipynb build/notebooks/$$notebook/; \
	done
	@$(PARALLEL) --dist loadfile --nbval --nbval-current-env \
	  --nbval-sanitize-with tests/notebooks/sanitize.cfg \
	  tests/notebooks $(if $(NOTEBOOKS),build/notebooks)

test-browser: venv ## the quickstart in a real JupyterLab in Chromium; screenshots in build/screenshots
	@OMP_NUM_THREADS=1 $(PY) -m pytest -q -n auto --maxprocesses 2 --dist loadfile tests/browser

pictures: test-browser ## take the README's pictures anew
	@cp $(PICTURES:%=build/screenshots/%.png) notebooks/pictures/

test-colab: $(COLAB_READY) ## the magics in a kernel with Colab's versions, and every method on them
	@$(COLAB)/bin/python -m pytest -q tests/colab tests/train/test_mounts.py

test-binder: venv ## Binder's steps in a clean environment
	@$(PY) -m pytest -q tests/binder

check: venv ## ruff, mypy, the README's generated tables, JupyterLab's part and the import direction
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) tools/readme.py --check
	@$(PY) tools/labextension.py --check
	@$(PY) -m pytest -q tests/unit/test_house_imports.py

bench: venv ## measure: SFT beside TRL, distilling a context, comparing 1 to 16 adapters, a magic's cost, attaching, quantizing, 1,000 to 1,000,000 rows
	@$(PY) benchmarks/attach.py
	@$(PY) benchmarks/quantize.py
	@$(PY) benchmarks/rows.py
	@$(PY) benchmarks/compare.py
	@$(PY) benchmarks/magic.py
	@$(PY) benchmarks/sft.py
	@$(PY) benchmarks/distill.py

bench-fit: venv ## measure how near the fit check comes, method by method (ten minutes)
	@$(PY) benchmarks/fit.py

bench-gpu: venv ## measure on a GPU: quantizing 1B and 8B, LoRA's speed on each precision, SFT beside TRL, the fit check
	@$(PY) benchmarks/fit.py
	@$(PY) benchmarks/quantize.py --shape 1b
	@$(PY) benchmarks/quantize.py --shape 8b
	@$(PY) benchmarks/sft.py --shape 0.6b
	@$(PY) benchmarks/sft.py --shape 1b

clean: ## remove environments and everything built
	rm -rf $(VENV) $(COLAB) build dist .mypy_cache .ruff_cache
