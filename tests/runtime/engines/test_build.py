"""The builder's calls fit every genuine version, in the right order, and each refusal is a user's error."""

import logging
from types import SimpleNamespace

import pytest
from genuine import Double, enum_of

from edgeosr.errors import EngineError
from edgeosr.runtime.engines.build import build_plan
from edgeosr.runtime.engines.request import BuildRequest

REQUEST = BuildRequest(builder="tensorrt", targets=(), batch=(1, 2, 8), frame=(48, 64), workspace=512)


class Machine:
    """A TensorRT module made of doubles of a genuine version."""

    def __init__(self, api, *, dtype="HALF", parses=True, plan=b"plan", steps=3, cache_fits=True):
        self.api, self.calls, self.steps = api, [], steps
        self.monitor, self.logger = None, None
        enums = {name: enum_of(api, name) for name in (
            "NetworkDefinitionCreationFlag", "MemoryPoolType", "DataType", "TensorFormat")}  # fmt: skip
        self.types = enums["DataType"]
        output = self.double("ITensor", name="map", dtype=getattr(self.types, dtype))
        self.output = output
        error = self.double(
            "ParserError",
            node_name=lambda: "pool_3",
            node_operator=lambda: "MaxPool",
            desc=lambda: "no indices",
            node=lambda: 3,
        )
        parser = self.double(
            "OnnxParser", parse=lambda data: parses, num_errors=1, get_error=lambda number: error
        )
        network = self.double("INetworkDefinition", num_outputs=1, get_output=lambda number: output)
        profile = self.double("IOptimizationProfile")
        self.config = self.double(
            "IBuilderConfig",
            create_timing_cache=lambda data: self.double("ITimingCache", serialize=lambda: b"cache:" + data),
            set_timing_cache=lambda cache, ignore_mismatch: cache_fits or cache.serialize() == b"cache:",
        )
        self.builder = self.double(
            "Builder",
            create_network=network,
            create_builder_config=lambda: self.config,
            create_optimization_profile=profile,
            build_serialized_network=lambda network, config: self.built(plan),
        )
        machine = self

        class ILogger:
            Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)

            def __init__(self):
                machine.logger = self

        class IProgressMonitor:
            def __init__(self):
                machine.monitor = self

        for name in ("phase_start", "step_complete", "phase_finish"):
            assert name in api["classes"]["IProgressMonitor"]
        self.module = SimpleNamespace(
            __version__=api["version"],
            Builder=lambda logger: self.builder,
            OnnxParser=lambda network, logger: parser,
            ILogger=ILogger,
            IProgressMonitor=IProgressMonitor,
            **enums,
        )

    def double(self, cls, **answers):
        return Double(self.api, cls, self.calls, **answers)

    def built(self, plan):
        """Build as TensorRT does: report phases, stop when the monitor says so."""
        monitor = self.config.progress_monitor
        monitor.phase_start("Tactics", None, self.steps)
        for step in range(self.steps):
            if not monitor.step_complete("Tactics", step):
                return None
        monitor.phase_finish("Tactics")
        if plan is None:
            self.logger.log(1, "Error Code 10: no tactic for node")
        return plan

    def build(self, request=REQUEST, advance=lambda *said: True, cache=None, dtype="float16"):
        return build_plan(
            self.module, b"onnx", request, outputs=("map",), dtype=dtype, timing_cache=cache, advance=advance
        )


def test_it_builds_strongly_typed_with_profile_limit_and_cache(api):
    machine = Machine(api)
    built = machine.build(cache=b"old")
    assert (built.plan, built.version, built.timing_cache) == (b"plan", api["version"], b"cache:old")
    done = {(cls, name): args for cls, name, args, _ in machine.calls}
    flag = machine.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert done["Builder", "create_network"] == (1 << flag,)
    shapes = ((1, 48, 64, 3), (2, 48, 64, 3), (8, 48, 64, 3))
    assert done["IOptimizationProfile", "set_shape"] == ("frames", *shapes)
    pool = machine.module.MemoryPoolType.WORKSPACE
    assert done["IBuilderConfig", "set_memory_pool_limit"] == (pool, 512 << 20)
    linear = machine.module.TensorFormat.LINEAR
    assert done["ITensor", "allowed_formats="] == (1 << linear,)
    order = [name for _, name, _, _ in machine.calls]
    assert order.index("parse") < order.index("allowed_formats=") < order.index("build_serialized_network")
    assert (
        order.index("set_timing_cache") < order.index("build_serialized_network") < order.index("serialize")
    )


def test_a_timing_cache_of_another_version_is_begun_anew(api):
    assert Machine(api).build().timing_cache == b"cache:"
    assert Machine(api, cache_fits=False).build(cache=b"old").timing_cache == b"cache:"


def test_a_refused_graph_names_node_and_operator(api):
    with pytest.raises(EngineError, match=r"node 'pool_3' \(MaxPool\): no indices.*--engine onnx"):
        Machine(api, parses=False).build()


def test_a_build_that_fails_says_what_tensorrt_said(api):
    with pytest.raises(EngineError, match="could not build the engine: Error Code 10: no tactic"):
        Machine(api, plan=None).build()


@pytest.mark.parametrize(("made", "said"), [("FLOAT", "float16"), ("HALF", "float32")])
def test_an_output_of_another_type_than_the_kernel_reads_is_refused(api, made, said):
    with pytest.raises(EngineError, match="backbone's output map must be"):
        Machine(api, dtype=made).build(dtype=said)


def test_an_unexpected_output_is_refused(api):
    machine = Machine(api)
    object.__getattribute__(machine.output, "_answers")["name"] = "features"
    with pytest.raises(EngineError, match="must have the outputs map; got features"):
        machine.build()


def test_progress_counts_up_and_may_stop_the_build(api):
    seen = []
    machine = Machine(api)
    machine.build(advance=lambda done, total, phase: seen.append((done, total, phase)) or True)
    assert seen == [
        (0, 3, "Tactics"),
        (1, 3, "Tactics"),
        (2, 3, "Tactics"),
        (3, 3, "Tactics"),
        (3, 3, "Tactics"),
    ]
    with pytest.raises(EngineError, match="could not build"):
        Machine(api).build(advance=lambda done, total, phase: done < 2)


def test_tensorrt_s_levels_become_python_s(api, caplog):
    machine = Machine(api)
    with caplog.at_level(logging.DEBUG):
        machine.build()
        for severity in range(5):
            machine.logger.log(severity, f"severity {severity}")
    levels = [record.levelname for record in caplog.records if record.message.startswith("severity")]
    assert levels == ["ERROR", "ERROR", "WARNING", "INFO", "DEBUG"]


def test_a_warning_that_is_as_it_should_be_is_no_user_s_concern(api, caplog):
    machine = Machine(api)
    with caplog.at_level(logging.INFO):
        machine.build()
        machine.logger.log(2, "ModelImporter.cpp:1071: Make sure input channel_order has Int64 binding.")
        machine.logger.log(2, "Make sure input other has Int64 binding.")
    assert [each.message for each in caplog.records] == ["Make sure input other has Int64 binding."]
