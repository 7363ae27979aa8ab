# make lab   open the course          make run    execute every notebook into build/run
# make test  everything CI checks     make data   fetch CIFAR-10 ahead
# make student  the notebooks without solutions, into build/student
# make test-gpu  what a GPU may do differently, and every notebook's cells on it
# make test-colab  make test with the versions of Google Colab, in .venv-colab
# make slides   01, 03 and 05 as one file of slides, build/slides/simclr.html
# make clean remove what was built    (the first call sets up .venv; later calls are quick)
#
# TORCH_INDEX=https://download.pytorch.org/whl/cpu   a small torch without CUDA
# BROWSER=none      make lab only serves
# CI_VENV=FOLDER    use or create that virtual environment instead of .venv
# PYTHON=FILE       use an interpreter that already holds everything; nothing is installed
# TEST_EXTRAS=lab,test,course   what `make test` installs; course is nbgrader, for teachers and CI

.DEFAULT_GOAL := help
.PHONY: help lab run ready test test-gpu test-colab data clean student slides
TORCH_INDEX ?=
VENV := $(or $(CI_VENV),.venv)
COLAB := .venv-colab
SYSTEM_PYTHON ?= python3
TEST_EXTRAS ?= lab,test
comma := ,
TEST_STAMP := $(VENV)/.ready-$(subst $(comma),-,$(TEST_EXTRAS))

ifeq ($(strip $(PYTHON)),)
  PY := $(VENV)/bin/python
  LAB_READY := $(VENV)/.ready-lab
  TEST_READY := $(TEST_STAMP)
else
  PY := $(PYTHON)
  export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
endif

help:
	@sed -n '1,14s/^# \{0,1\}//p' Makefile

$(VENV)/bin/python:
	$(SYSTEM_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "simclr_tut needs Python 3.11 or newer: make SYSTEM_PYTHON=python3.12 ...")'
	$(SYSTEM_PYTHON) -m venv $(VENV)

$(VENV)/.ready-torch: | $(VENV)/bin/python
	$(if $(TORCH_INDEX),$(PY) -m pip install -q "torch>=2.6" "torchvision>=0.21" --index-url $(TORCH_INDEX))
	@touch $@

$(VENV)/.ready-lab: pyproject.toml | $(VENV)/.ready-torch
	$(PY) -m pip install -q -e ".[lab]"
	@touch $@

$(TEST_STAMP): pyproject.toml | $(VENV)/.ready-torch
	$(PY) -m pip install -q -e ".[$(TEST_EXTRAS)]"
	@touch $@

lab: $(LAB_READY)
	$(PY) -m jupyterlab --notebook-dir=. $(if $(filter none,$(BROWSER)),--no-browser) \
	  $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/00_start_here.ipynb

run: $(TEST_READY)
	$(PY) tools/build_notebooks.py --to build/run

ready: $(TEST_READY)

test: $(TEST_READY)
	$(PY) -m ruff check .
	$(PY) -m codespell_lib
	$(PY) -m pytest

test-gpu: $(TEST_READY)
	CUDA_VISIBLE_DEVICES=$${CUDA_VISIBLE_DEVICES:-$$($(PY) -c \
	  'import torch; print(*range(torch.cuda.device_count()), sep=",")')} \
	  $(PY) -m pytest tests/test_gpu.py notebooks

# torch is borrowed from the other environment (a path in a .pth file): no second download of it
PLACE = -c 'import sysconfig; print(sysconfig.get_path("$(1)"))'
SITE = $(call PLACE,purelib)
$(COLAB)/.ready: .ci/colab.txt pyproject.toml | $(TEST_READY)
	$(PY) -m venv $(COLAB)
	$(PY) $(SITE) > "$$($(COLAB)/bin/python $(SITE))/borrowed.pth"
	(grep -v '^torch' .ci/colab.txt; echo 'setuptools>=77') > $(COLAB)/versions.txt
	$(COLAB)/bin/python -m pip install -q -r $(COLAB)/versions.txt
	mkdir -p $(COLAB)/share/jupyter
	ln -sfn "$$($(PY) $(call PLACE,data))/share/jupyter/nbconvert" $(COLAB)/share/jupyter/nbconvert
	@touch $@

test-colab: $(COLAB)/.ready
	$(COLAB)/bin/python -m pytest

# NBGRADER=1 adds nbgrader's metadata; see INSTRUCTORS.md
student: $(TEST_READY)
	$(PY) tools/make_student.py $(if $(filter 1,$(NBGRADER)),--nbgrader)

slides: $(TEST_READY)
	$(PY) tools/make_slides.py

data: $(LAB_READY)
	$(PY) -m simclr_tut download

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -path './.venv*' -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -print0 | xargs -0 rm -rf
