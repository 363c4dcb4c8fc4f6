# Two commands on a fresh machine; they need Python 3.11 to 3.13 with pip, and nothing else.
# ARGS goes to train.py: make train ARGS="digits --epochs 5"
PYTHON ?= python3

.PHONY: train test lint

train: .venv/trains
	.venv/bin/python train.py $(ARGS)

test: .venv/tests
	.venv/bin/python -m pytest --numprocesses 3 --dist loadfile

lint: .venv/tests
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy

.venv/trains: requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --requirement requirements.txt
	touch $@

.venv/tests: .venv/trains requirements-dev.txt
	.venv/bin/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@
