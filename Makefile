# Everything here sets itself up: the only things needed beforehand are Python 3.10 to 3.13 with venv, and make.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin
# One install per change of the dependencies, for tests and demo alike.
READY = $(VENV)/.installed

.PHONY: help test coverage lint demo claims clean

help:
	@echo "make demo      train, score, draw, save and reload ASM-Loc on an embedded corpus (75 seconds, once installed)"
	@echo "make test      run all tests"
	@echo "make lint      check format and lint"
	@echo "make coverage  run all tests and say which part of the code they reach (half as long again)"
	@echo "make claims    repeat all measurements of benchmarks/ (eight hours or more)"
	@echo "make clean     remove the environment and the demo's output"

$(READY): setup.cfg pyproject.toml constraints.txt
	@echo "== installing into $(VENV): PyTorch and what else is needed, once (minutes, as the network is)"
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

test: $(READY)
	$(RUN)/python -m pytest -n auto --dist loadfile

coverage: $(READY)
	$(RUN)/python -m pytest -n auto --dist loadfile --cov --cov-report=term

lint: $(READY)
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

demo: $(READY)
	PATH="$(abspath $(RUN)):$$PATH" bash scripts/demo.sh

claims: $(READY)
	$(RUN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,examples]"
	for benchmark in import_time decode speed_asm_loc claims_asm_loc speed_l2_caf claims_l2_caf speed_stts \
	    speed_stts_training speed_video_swin claims_stts bfloat16_scores speed_semiformer claims_semiformer \
	    speed_mal label_restart claims_gta speed_video_convolution speed_video_resnet \
	    speed_cross_x claims_cross_x speed_hierarchical_motion claims_hierarchical_motion speed_step claims_step \
	    claims_collaborative_memory memory_collaborative; do \
	    $(RUN)/python benchmarks/$$benchmark.py || echo "$$benchmark missed its target"; done
	$(RUN)/python benchmarks/claims_mal.py --phase2 || echo "claims_mal missed its target"

clean:
	rm -rf $(VENV) runs
