# Two targets do all the set-up on a machine with Python 3.11 or newer: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test lint types unit bench bench-gpu bench-spectral bench-network bench-compression bench-async bench-stragglers bench-weights bench-search bench-hosts fault-tests soak check-page reproduce-topologies reproduce-training reproduce-compression reproduce-acid reproduce-learned docs clean

# The main job: design -> analyze -> train on real data, with results and plots in demo/.
demo: .venv/ready
	$(BIN)/python -m topokit_cli.demo demo

# Everything that has to hold: lint, types, tests with doctests and the snippets of README and docs.
test: lint types unit

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

# Three workers even on two cores: many tests wait, for ranks and for time to pass. Threads on top of that only cost.
# Assertions that pytest has rewritten are kept, also where Python is told to write no bytecode: they take each worker
# five seconds.
unit: export OMP_NUM_THREADS = 1
unit: export PYTHONDONTWRITEBYTECODE =
unit: .venv/ready
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow"

# Slow evidence: benchmarks, whose figures docs/benchmarks.md keeps.
bench: .venv/ready
	$(BIN)/python tests/benchmarks/bench_mixing.py
	$(BIN)/python tests/benchmarks/bench_virtual.py
	$(BIN)/python tests/benchmarks/bench_proofs.py
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_packing.py
	$(BIN)/pytest -m slow tests/benchmarks tests/trainer tests/topokit tests/cli

# Virtual nodes and mixing on one GPU, and the tests that need one; `make bench-gpu DEVICE=cpu` tries it without.
DEVICE ?= cuda
bench-gpu: .venv/ready
	$(BIN)/python tests/benchmarks/bench_gpu.py --device $(DEVICE)
	$(BIN)/pytest -m gpu tests/trainer

# Spectra of a million nodes against dense and iterative solvers.
bench-spectral: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_spectral.py

# The cost model against 8 network-namespace hosts with limited links; needs root on Linux.
bench-network: .venv/ready
	$(BIN)/python tests/benchmarks/bench_network.py
	$(BIN)/pytest -m slow tests/trainer/test_measure.py

# Compressed gossip against D-SGD and DDP on 8 network-namespace hosts, slow links and fast ones; needs root on Linux.
bench-compression: .venv/ready
	$(BIN)/python tests/benchmarks/bench_compression.py

# Runs that lose ranks: killed, stopped, cut off (which needs root on Linux), twenty times over; 15 minutes.
fault-tests: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow tests/faults

# One long run under random kills and returns: make soak SECONDS=300
SECONDS ?= 900
soak: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/soak.py --seconds $(SECONDS)

# Asynchronous gossip with a simulated clock: 64 nodes, 100,000 events of a model of 100,000 parameters.
bench-async: .venv/ready
	$(BIN)/python tests/benchmarks/bench_async.py

# What one slow rank of 8 costs the others: asynchronous gossip against rounds. On a machine that is otherwise idle.
bench-stragglers: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_stragglers.py

# Optimal weights against other packages and general solvers, which get a virtual environment of their own.
bench-weights: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_weights.py $(OPTIONS)

# Learned graphs against random regular and named ones and annealing, 12 sizes; 50 minutes, or OPTIONS="--nodes 64".
bench-search: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_search.py $(OPTIONS)

# Learned sequences on 4 network-namespace hosts of different speeds, 8 ranks each; needs root on Linux.
bench-hosts: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_hosts.py $(OPTIONS)

# The HTML report in a headless Chromium, which has to be installed.
check-page: .venv/ready
	$(BIN)/pytest -rs tests/repository/test_page_in_browser.py

# The tables of docs/topologies.md, computed again, and compared with what is known of them.
reproduce-topologies: .venv/ready
	$(BIN)/python tests/reproductions/reproduce_topologies.py
	$(BIN)/pytest tests/reproductions/test_reproduce_topologies.py

# Training experiments on MNIST, whose results docs/reproductions.md keeps: make reproduce-training MNIST=FOLDER
# What the results file holds is not run again; OPTIONS="--only b --seeds 1" runs a part.
reproduce-training: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/reproductions/reproduce_training.py --mnist "$(MNIST)" $(OPTIONS)
	$(BIN)/pytest tests/reproductions/test_reproduce_training.py

# Accuracy against the bytes that a node sends, on MNIST: make reproduce-compression MNIST=FOLDER, as above.
reproduce-compression: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/reproductions/reproduce_compression.py --mnist "$(MNIST)" $(OPTIONS)
	$(BIN)/pytest tests/reproductions/test_reproduce_compression.py

# A²CiD² against gossip at twice the rate, on MNIST with virtual nodes: make reproduce-acid MNIST=FOLDER, as above.
reproduce-acid: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/reproductions/reproduce_acid.py --mnist "$(MNIST)" $(OPTIONS)
	$(BIN)/pytest tests/reproductions/test_reproduce_acid.py

# Laplacian against Metropolis-Hastings weights on learned graphs: make reproduce-learned MNIST=FOLDER, as above.
reproduce-learned: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/reproductions/reproduce_learned.py --mnist "$(MNIST)" $(OPTIONS)
	$(BIN)/pytest tests/reproductions/test_reproduce_learned.py

# What is generated from the code: the command-line reference, the picture of the README, the test vectors.
docs: .venv/ready
	$(BIN)/python docs/generate_cli.py
	$(BIN)/python docs/draw_figures.py
	$(BIN)/python docs/draw_vectors.py

# torch is pinned in constraints.txt, so that a CPU build of some 200 MB is enough.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("topokit needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv .venv-peers build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
