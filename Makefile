# Two commands for a fresh machine with python3, venv and make: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CT ?=

.PHONY: demo test soak slicer-python lint panel screenshots weights package wheel sbom docs clean

demo: $(VENV)/demo-installed
ifeq ($(CT),)
	$(BIN)/python -m TernarySegmentLib phantom -o out/phantom_ct.nii.gz
endif
	$(BIN)/python -m TernarySegmentLib segment "$(or $(CT),out/phantom_ct.nii.gz)" \
	  -o out/pancreas.seg.nrrd --preview out/preview.png --report out/report.json

# all tests, and which lines of engine and pipeline they run; fails below 95 %
# first, alone, those that a busy computer could fail, then the others in PROCESSES, files in order; a file's tests share what they set up,
# and torch computes on one thread in each, as more would wait for one another
PROCESSES ?= 2
SHARED := -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
test: $(VENV)/test-installed lint
	$(BIN)/python -m pytest -m clock --cov --cov-report= --cov-fail-under=0
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not soak and not clock" $(SHARED) --cov --cov-append --cov-report=term

# the long tests: bounded, with their counts
soak: $(VENV)/test-installed
	$(BIN)/python -m pytest -m soak -s

# engine, imaging and pipeline on the Python of Slicer 5.10 and 5.12, with the NumPy that each brings along
# asked for its own path: a version manager's stand-in may be there without the version
PYTHON312 ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.12*/bin/python) \
  $(shell python3.12 -c 'import sys; print(sys.executable)' 2>/dev/null))
SLICER_NUMPY := 2.0.2 2.4.6
SLICER_TESTS := $(addprefix Testing/Python/test_,engine_network.py engine_modelfile.py imaging_grids.py \
  imaging_checks.py imaging_measure.py imaging_postprocess.py)
slicer-python:
ifeq ($(PYTHON312),)
	@echo "No Python 3.12 here: install it, or name it with PYTHON312=..."
else
	for numpy in $(SLICER_NUMPY); do \
	  venv=$(VENV)-slicer-$$numpy && $(PYTHON312) -m venv $$venv && \
	  $$venv/bin/python -m pip install -q "numpy==$$numpy" -e ".[accelerate]" pytest pytest-xdist hypothesis && \
	  $$venv/bin/python -m pytest -p no:cacheprovider $(SHARED) $(SLICER_TESTS) || exit 1; \
	done
endif

lint: $(VENV)/test-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

panel: $(VENV)/host-installed
	$(BIN)/python Testing/SlicerHost/panel.py $(if $(CT),--ct "$(CT)")

screenshots: $(VENV)/host-installed
	$(BIN)/python Testing/SlicerHost/screenshots.py $(if $(CT),--ct "$(CT)")

# the weights that ship, from the labelled scans in SCANS and the partial ones in SLICES: a network for each fold, trained in three
# runs, after each of them judged on the scans that it never saw, then all of them voting with VOTERS; a training that was stopped
# goes on when called again
SCANS ?= data-local/btcv-native
SLICES ?= data-local/nih-slices
FOLDS := 0 2 1 3
VOTERS ?= Testing/Data/generation-5.npz
DATA := data-local/prepared-sized
COARSE_DATA := data-local/prepared-4mm
TRAIN = $(BIN)/python -m TernarySegmentLib.training
CROSSVALIDATE = $(TRAIN) crossvalidate --data $(DATA) --source $(SCANS) --mirrored --coarse $(VOTERS)
weights: $(VENV)/test-installed
	$(TRAIN) prepare --source $(SCANS) --mirrored --target $(DATA) --spacing 1.5 --sized --phantoms 8
	$(TRAIN) prepare --source $(SLICES) --format nih-slices --target $(DATA) --spacing 1.5 --sized --phantoms 0
	$(TRAIN) prepare --source $(SCANS) --mirrored --target $(COARSE_DATA) --spacing 4 --phantoms 8
	$(TRAIN) prepare --source $(SLICES) --format nih-slices --target $(COARSE_DATA) --spacing 4 --phantoms 0
	$(TRAIN) train --data $(COARSE_DATA) --run runs/coarse --preset coarse --fold none --seed 6
	$(CROSSVALIDATE) --run runs/cv --preset fine --seed 50
	$(CROSSVALIDATE) --run runs/tune --preset tune --seed 60 --start runs/cv
	$(CROSSVALIDATE) --run runs/again --preset tune --seed 70 --start runs/tune
	$(TRAIN) export --coarse runs/coarse --coarse-data $(COARSE_DATA) --fine-data $(DATA) \
	  --fine $(patsubst %,runs/again/fold%,$(FOLDS)) \
	  --vote $(VOTERS) --origin "BTCV, partial volumes of NIH Pancreas-CT, phantoms 1 to 8" -o out/pancreas.npz
	$(TRAIN) calibrate --source $(SCANS) --mirrored --unseen --model out/pancreas.npz
	$(TRAIN) evaluate --source $(SCANS) --mirrored --unseen --model out/pancreas.npz

# what the Extensions Manager unpacks; Slicer's CMake package is stood in for, SLICER_DIR=... takes a real one
SLICER_DIR ?= $(CURDIR)/Testing/Packaging
package:
	cmake -S . -B build/extension -DSlicer_DIR="$(SLICER_DIR)"
	cmake --build build/extension
	cmake --build build/extension --target package

wheel: | $(VENV)/created
	rm -rf build/lib
	$(BIN)/python -m pip wheel -q --no-deps -w dist .

# what a user installs, for hospital IT: an environment of its own holds nothing else
sbom: $(VENV)/test-installed
	rm -rf $(VENV)-sbom
	$(BIN)/python -m venv --without-pip $(VENV)-sbom
	$(BIN)/python -m pip --python $(VENV)-sbom/bin/python install -q ".[accelerate]"
	mkdir -p build
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  -o build/sbom-packages.json $(VENV)-sbom/bin/python
	$(BIN)/python tools/sbom.py build/sbom-packages.json -o build/sbom.json

# warnings are errors; the site lies in build/site
docs: $(VENV)/docs-installed
	$(BIN)/python docs/figures.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/created:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/demo-installed: pyproject.toml | $(VENV)/created
	$(BIN)/python -m pip install -q -e ".[accelerate]"
	touch $@

$(VENV)/test-installed: pyproject.toml | $(VENV)/created
	$(BIN)/python -m pip install -q -e ".[test,host]"
	touch $@

$(VENV)/docs-installed: pyproject.toml $(VENV)/test-installed
	$(BIN)/python -m pip install -q -e ".[docs]"
	touch $@

$(VENV)/host-installed: $(VENV)/test-installed
	touch $@

clean:
	rm -rf $(VENV) out build
