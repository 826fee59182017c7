"""Every call the runner makes exists, with those arguments, in each TensorRT that it says it runs on.

The classes are NVIDIA's own (see ``genuine.py``): those of three TensorRT versions over stub libraries, and
the installed TensorRT-RTX. Whole runs go through doubles that refuse what the genuine class does not have.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import genuine
import numpy as np
import pytest
from engine_double import TrtDouble
from genuine import VERSIONS, api_of, fits
from machine import Machine
from test_engine_runner import aligned, assert_like_portable, run_on_device

import edgeosr
from edgeosr.bundle.directory import Bundle

Api = dict[str, Any]
# What the doubles return that is an object of another class.
RETURNED = {
    "create_execution_context": "IExecutionContext",
    "create_runtime_config": "IRuntimeConfig",
    "create_runtime_cache": "IRuntimeCache",
    "deserialize_cuda_engine": "ICudaEngine",
}


class Checked:
    """A double behind the members and signatures of a genuine class; ``used`` collects what was used."""

    def __init__(self, api: Api, cls: str, inner: Any, used: set[str]):
        vars(self).update(_api=api, _cls=cls, _inner=inner, _used=used)

    def _member(self, name: str) -> list[str]:
        members = self._api["classes"][self._cls]
        assert name in members, f"{self._cls} of {self._api['version']} has no {name}"
        self._used.add(f"{self._cls}.{name}")
        signatures: list[str] = members[name]
        return signatures

    def __getattr__(self, name: str) -> Any:
        signatures = self._member(name)
        value = getattr(self._inner, name)
        if not signatures:
            assert not callable(value), f"{self._cls}.{name} is no method in {self._api['version']}"
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            assert any(fits(signature, args, kwargs) for signature in signatures), (
                name,
                args,
                kwargs,
                signatures,
            )
            plain = [getattr(arg, "_inner", arg) if isinstance(arg, Checked) else arg for arg in args]
            found = value(*plain, **kwargs)
            if name in RETURNED and found is not None:
                return Checked(self._api, RETURNED[name], found, self._used)
            return found

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        assert self._member(name) == [], f"{self._cls}.{name} is a method"
        setattr(self._inner, name, value)


@pytest.fixture(scope="session")
def apis(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Api]:
    root = tmp_path_factory.mktemp("apis")
    found = {version: api_of(version, root) for version in VERSIONS}
    program = Path(genuine.__file__).with_name("describe_bindings.py")
    done = subprocess.run(
        [sys.executable, program, "tensorrt_rtx"], stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    return {**found, "rtx": json.loads(done.stdout)}


@pytest.mark.parametrize("version", [*VERSIONS, "rtx"])
def test_a_runtime_calls_what_each_version_has(
    version: str,
    apis: dict[str, Api],
    typed_bundle: Callable[..., Bundle],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    frames: np.ndarray,
) -> None:
    api, used = apis[version], set[str]()
    machine = Machine(monkeypatch, tmp_path, typed_bundle(), rtx=version == "rtx")
    plain = machine.trt.Runtime

    def runtime(logger: Any) -> Checked:
        assert any(fits(signature, (logger,), {}) for signature in api["classes"]["Runtime"]["__init__"])
        return Checked(api, "Runtime", plain(logger), used)

    machine.trt.Runtime = runtime
    machine.add()
    for capturable in (True, False):
        machine.engine.capturable = capturable
        with edgeosr.Runtime(machine.path, backend=machine.builder) as opened:
            for batch in (1, 2, 1):
                assert len(opened(list(frames[:batch]))) == batch
    expected = {
        "Runtime.deserialize_cuda_engine", "ICudaEngine.get_tensor_name", "ICudaEngine.device_memory_size_v2",
        "ICudaEngine.get_tensor_profile_shape", "ICudaEngine.create_execution_context",
        "IExecutionContext.set_device_memory", "IExecutionContext.set_input_shape",
        "IExecutionContext.set_tensor_address", "IExecutionContext.execute_async_v3",
    }  # fmt: skip
    if version == "rtx":
        expected |= {
            "IExecutionContext.is_stream_capturable", "IRuntimeConfig.cuda_graph_strategy",
            "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy", "IRuntimeCache.serialize",
            "IRuntimeConfig.set_execution_context_allocation_strategy", "IRuntimeConfig.set_runtime_cache",
        }  # fmt: skip
    assert expected <= used


@pytest.mark.parametrize("version", [*VERSIONS, "rtx"])
def test_every_enum_member_the_code_names_exists(version: str, apis: dict[str, Api]) -> None:
    classes = apis[version]["classes"]
    named = {
        "DataType": ("UINT8", "INT64", "HALF", "FLOAT"),
        "TensorIOMode": ("INPUT", "OUTPUT"),
        "TensorLocation": ("DEVICE",),
        "TensorFormat": ("LINEAR",),
        "ExecutionContextAllocationStrategy": ("USER_MANAGED",),
        "ILogger": tuple(
            f"Severity.{name}" for name in ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")
        ),
    }
    if version == "rtx":
        named["CudaGraphStrategy"] = ("DISABLED", "WHOLE_GRAPH_CAPTURE")
        named["DynamicShapesKernelSpecializationStrategy"] = ("EAGER",)
    missing = [f"{cls}.{name}" for cls, names in named.items() for name in names if name not in classes[cls]]
    assert missing == []
    # The list above is the code's: everything it takes from the module by name.
    folder = Path(edgeosr.__file__).parent / "runtime"
    source = "".join(path.read_text("utf-8") for path in folder.rglob("*.py"))
    for cls, names in named.items():
        assert f".{cls}" in source
        assert all(name.split(".")[-1] in source for name in names)


def test_a_call_with_wrong_arguments_or_of_another_name_is_caught(apis: dict[str, Api]) -> None:
    context = Checked(apis["10.3.0"], "IExecutionContext", TrtDouble, set())
    with pytest.raises(AssertionError, match="has no is_stream_capturable"):
        _ = context.is_stream_capturable
    with pytest.raises(AssertionError, match="has no shape"):
        context.shape = (1, 2)
    assert not any(
        fits(signature, (1, 2), {})
        for signature in apis["10.3.0"]["classes"]["IExecutionContext"]["execute_async_v3"]
    )


def test_frames_on_the_device_call_nothing_else(
    rig: Callable[..., Any], apis: dict[str, Api], frames: np.ndarray
) -> None:
    from cuda_double import HostArray

    used: set[str] = set()

    def wrap(engine: Any) -> None:
        make = engine.create_execution_context
        engine.create_execution_context = lambda how: Checked(
            apis["10.3.0"], "IExecutionContext", make(how), used
        )

    each = rig(prepare=wrap)
    batch = aligned(frames[:2])
    for _ in range(3):
        assert_like_portable(each, run_on_device(each, HostArray(batch)), batch)
    assert "IExecutionContext.set_tensor_address" in used


def test_the_logger_is_a_genuine_one_and_keeps_the_last_error() -> None:
    program = (
        "import logging, tensorrt_rtx as trt\n"
        "from edgeosr.runtime.engines.tensorrt_log import tensorrt_logger\n"
        "logging.basicConfig(level=logging.ERROR, format='%(name)s %(levelname)s')\n"
        "logger = tensorrt_logger(trt)\n"
        "network = trt.Builder(logger).create_network(0)\n"
        "assert not trt.OnnxParser(network, logger).parse(b'no model')\n"
        "assert logger.last, 'nothing was logged'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "edgeosr.tensorrt ERROR" in done.stderr
