# make demo     set everything up in .venv, then show a classifier that says "unknown"
# make test     set everything up, then run every test, in two processes; WORKERS=0 takes one, as pytest alone does
# make native   set everything up, then build libedgeosr, the C library, beside edgeosr/runtime/native; needs g++
# make native-sanitizers   set everything up, then run it with the sanitizers of addresses, undefined behaviour and threads
# make native-cmake        set everything up, then build and install the library with CMake as docs/embed-c.md says, and run it
# make native-gstreamer    set everything up, then build the example for GStreamer and run it, where GStreamer's headers are
# make native-tensorrt TENSORRT_INCLUDE=FOLDER   set everything up, then compile the plug-in for TensorRT against
#               NVIDIA's headers and run it over doubles; TENSORRT_LIBRARY: hold it against this libnvinfer too
# make native-wheels       set everything up, then dist/edgeosr-*-manylinux_*.whl, which carry the library, for x86-64 and
#               aarch64; with qemu-aarch64-static and the packages libc6-arm64-cross and libstdc++6-arm64-cross, the
#               latter is run too
# make test-oldest         run a part of the tests with the lowest versions that pyproject.toml declares: the
#                          runtime on Python 3.10 and 3.13, foreign export without torch and training on 3.11
# make test-oldest-quick   the same without training
# make check    set everything up, then formatting, lint, types and documentation
# make docs     set everything up, then build the documentation: open build/docs/index.html
# make wheel    set everything up, build the kernel for every device, then dist/edgeosr-*.whl that holds the builds
# make gpu-pack set everything up, make the wheel, then dist/edgeosr-gpu-cards.tar.gz: all that "make gpu" needs on a
#               machine with a card and without internet; GPU_PACK=--jetson: the one for a Jetson
# make gpu      on a machine with an NVIDIA card: unpack that archive in build/gpu and run it, six minutes at most; the
#               record is gpu-NAME.json there. GPU_PYTHON: the Python that has torch; GPU: options of the rung
# make gpu-dry  set everything up, then the same steps without a card, on the execution of the kernel on a CPU
# make fuzz     set everything up, then give each parser changed bytes, from seeds in build/fuzz-corpus: FUZZ_SECONDS each,
#               3600 by default
# make soak     set everything up, then hostile bundles, frames against float64 and killed writers, SOAK_COUNT of
#               each, 20000 by default, and 200 kills of each command: hours
# make clean    remove build products, caches and the demo's output; .venv and other runs stay

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.edgeosr-installed
TYPES  := build/types/edgeosr
WORKERS ?= 2
EXTRAS := train,pretrained,video,rtx,openvino,dev
# NVIDIA's Python bindings, without its libraries: tests hold the code to what each version really has.
TENSORRT := 10.3.0 10.13.3.9 11.4.0.106
NATIVE  = $(shell git ls-files '*.cu' '*.cuh' '*.h' '*.cpp' 2>/dev/null)

# The first Python that may train and export: 3.11 or later (the pins were made with 3.11).
NEW_ENOUGH = -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python $(NEW_ENOUGH) 2>/dev/null && { echo $$python; break; }; done)

.PHONY: demo test native native-sanitizers native-cmake native-gstreamer native-tensorrt native-wheels test-oldest test-oldest-quick check docs types wheel gpu-pack gpu gpu-dry fuzz soak setup clean
.DEFAULT_GOAL := test

demo: $(STAMP)
	$(BIN)/edgeosr demo

# A file's tests stay in one process and share its fixtures. In the files' own order: the long ones come first.
test: native
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST)

# The tests link these objects anew, with what looks into them.
native: $(STAMP)
	$(BIN)/python -m edgeosr.runtime.native.build

native-sanitizers: $(STAMP)
	$(BIN)/python tests/native/sanitizers.py

native-cmake: $(STAMP)
	$(BIN)/python tests/native/cmake_build.py

native-gstreamer: $(STAMP)
	$(BIN)/python tests/native/gstreamer_example.py

native-tensorrt: $(STAMP)
	@test -n "$(TENSORRT_INCLUDE)" || { echo "name the folder of NvInferRuntime.h: make native-tensorrt" \
		"TENSORRT_INCLUDE=FOLDER (JetPack: /usr/include/aarch64-linux-gnu)" >&2; exit 1; }
	$(BIN)/python tests/native/tensorrt_plugin.py $(TENSORRT_INCLUDE) $(TENSORRT_LIBRARY)

native-wheels: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[wheels]'
	rm -rf build/lib build/bdist.* dist/pure && mkdir -p dist/pure
	$(BIN)/python -m build --wheel --no-isolation --outdir dist/pure .
	$(BIN)/python -m edgeosr.runtime.native.platform_wheel dist/pure/edgeosr-*-py3-none-any.whl --out dist
	$(BIN)/python tests/native/other_machine.py build/native-objects/x86_64/libedgeosr.so
	$(BIN)/python tests/native/other_machine.py build/native-objects/aarch64/libedgeosr.so

test-oldest: $(STAMP)
	$(BIN)/python tests/oldest/run.py

test-oldest-quick: $(STAMP)
	$(BIN)/python tests/oldest/run.py --quick

check: $(STAMP) types docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	MYPYPATH=build/types $(BIN)/mypy --strict -p edgeosr
	$(if $(NATIVE),$(BIN)/clang-format -n --Werror $(NATIVE))

# Strict (mkdocs.yml), and loud: with --quiet the warnings that fail it would not be printed.
docs: $(STAMP)
	$(BIN)/mkdocs build

# mypy cannot follow setuptools' import hook, so it reads a tree of links that looks like the installed package.
types:
	@mkdir -p $(TYPES)
	@find $(TYPES) -xtype l -delete
	@for path in edgeosr/*; do ln -sfn "../../../$$path" "$(TYPES)/$${path##*/}"; done
	@for room in export kernels bench; do ln -sfn "../../../$$room" "$(TYPES)/$$room"; done

# A build in the tree would take along what an older one left in build/lib.
wheel: $(STAMP)
	$(BIN)/python -m edgeosr.kernels.build_cubins
	rm -rf build/lib build/bdist.*
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

gpu-pack: wheel build/small.edgeosr
	$(BIN)/python -m edgeosr.bench.gpu_rung.pack --wheel "$$(ls -t dist/edgeosr-*.whl | head -n 1)" \
		--bundle build/small.edgeosr $(GPU_PACK)

# Nothing is installed: the machine has its own Python with torch, and perhaps no way to any package index.
GPU_PYTHON  ?= python3
GPU_RUNS    := $(if $(findstring /,$(GPU_PYTHON)),$(abspath $(GPU_PYTHON)),$(GPU_PYTHON))
GPU_ARCHIVE ?= dist/edgeosr-gpu-$(if $(findstring --jetson,$(GPU_PACK)),jetson,cards).tar.gz
gpu:
	@test -f $(GPU_ARCHIVE) || { echo "$(GPU_ARCHIVE) is not here; make it where a package index is at hand:" \
		"make gpu-pack, and bring it along" >&2; exit 1; }
	rm -rf build/gpu/edgeosr-gpu && mkdir -p build/gpu && tar xf $(GPU_ARCHIVE) -C build/gpu
	cd build/gpu && $(GPU_RUNS) edgeosr-gpu/start_here.py $(GPU)

gpu-dry: $(STAMP)
	$(BIN)/python tests/gpu/dry_run.py --out build/gpu-dry-run.json

# A bundle to try things on, made once.
SMALL := build/small.edgeosr
FUZZ_SECONDS ?= 3600
SOAK_COUNT ?= 20000

$(SMALL): $(STAMP)
	$(BIN)/python -m edgeosr.bench.reliability.small_bundle $@

fuzz: $(SMALL)
	$(BIN)/python -m edgeosr.bench.reliability.fuzz $(SMALL) --seconds $(FUZZ_SECONDS) --corpus build/fuzz-corpus

soak: $(SMALL)
	$(BIN)/python -m edgeosr.bench.reliability bundles $(SMALL) --count $(SOAK_COUNT)
	$(BIN)/python -m edgeosr.bench.reliability frames $(SMALL) --count $(SOAK_COUNT)
	$(BIN)/python -m edgeosr.bench.reliability kills $(SMALL) --count $(SOAK_COUNT)
	$(BIN)/python -m edgeosr.bench.reliability commands --count 200

setup: $(STAMP)

$(STAMP): pyproject.toml .ci/constraints.txt
	@test -n "$(PYTHON)" || { echo "edgeosr needs Python 3.11 or later to train and export; none was found." \
		"Install one, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing edgeosr and its tools into $(VENV) (some minutes the first time) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[$(EXTRAS)]'
	for version in $(TENSORRT); do $(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps \
		--only-binary :all: -d $(VENV)/share/tensorrt-bindings "tensorrt-cu12-bindings==$$version" || exit 1; done
	@touch $@

clean:
	rm -rf build dist *.egg-info runs/demo .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
