"""onnxruntime sessions, made in this one place: options, providers and errors are the same for everybody.

onnxruntime is imported on use. Which provider runs is asked from the session, never from the list of
available ones: a provider that is available may still fail to load.
"""

import contextlib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import (
    InferenceError,
    MissingDependencyError,
    interruptible_import,
    require_choice,
    require_threads,
)
from edgeosr.printed import LONGEST_REASON, shortened

CPU_ONLY = ("CPUExecutionProvider",)
Optimisation = Literal["all", "as-typed", "none"]
# TF32 keeps 10 bits of mantissa: enough to move a score across the calibrated threshold.
_PROVIDER_OPTIONS: dict[str, dict[str, str]] = {"CUDAExecutionProvider": {"use_tf32": "0"}}
# onnxruntime and onnxruntime-gpu install into one folder, so removing one breaks the other.
_REINSTALL = (
    "run: pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime "
    "(or onnxruntime-gpu; never both)"
)
_FATAL_ONLY = 4
# It runs nodes while a graph is loaded, where no time limit is looked at. A bundle has none for it: what is
# made of constants is computed before it is written. onnxruntime 1.17 has no session option for it.
_NOT_WHILE_LOADING = ["ConstantFolding"]


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """How a graph is run.

    Attributes:
        threads: of one call; None for one a physical core.
        providers: execution providers in order of preference; the CPU runs what is left over.
        optimisation: ``all``; ``as-typed`` keeps every rounding that the types of the graph ask for (else
            onnxruntime takes out casts between fp16 nodes, and turns Q/DQ pairs into integer kernels that
            saturate on old CPUs); ``none``.
    """

    threads: int | None = None
    providers: tuple[str, ...] = CPU_ONLY
    optimisation: Optimisation = "all"

    def __post_init__(self) -> None:
        require_threads("threads", self.threads)


def open_session(model: bytes, settings: SessionSettings | None = None, *, name: str = "the graph") -> Any:
    """Load a graph.

    Args:
        model: the ONNX file's bytes; not kept.
        settings: how to run it.
        name: what it is, for messages.

    Raises:
        InferenceError: onnxruntime cannot load it.
        MissingDependencyError: onnxruntime is missing, or a wanted provider does not load.
        UsageError: a provider that this onnxruntime was not built with.
    """
    settings = settings or SessionSettings()
    onnxruntime = load_onnxruntime()
    available = onnxruntime.get_available_providers()
    for provider in settings.providers:
        require_choice("a provider of this onnxruntime", provider, available)
    wanted = [(provider, _PROVIDER_OPTIONS.get(provider, {})) for provider in settings.providers]
    options = _options(onnxruntime, settings)
    try:
        session = onnxruntime.InferenceSession(
            model, sess_options=options, providers=wanted, disabled_optimizers=_NOT_WHILE_LOADING
        )
    except Exception as error:  # onnxruntime's errors share no base class of their own
        raise InferenceError(
            f"onnxruntime {onnxruntime.__version__} cannot load {name}: {shortened(error, LONGEST_REASON)}; "
            "a newer one may: pip install -U onnxruntime"
        ) from error
    # The Python wrapper keeps the model to be able to build the session anew; ours never does.
    if hasattr(session, "_model_bytes"):
        session._model_bytes = None
    running = session.get_providers()
    for provider in settings.providers:
        if provider not in running:
            raise MissingDependencyError(
                f"{provider} is built into onnxruntime {onnxruntime.__version__} but did not load "
                f"(it runs on {', '.join(running)}); install the libraries its release asks for"
            )
    return session


def run_session(
    session: Any,
    outputs: Sequence[str] | None,
    feed: Mapping[str, NDArray[Any]],
    *,
    name: str = "the graph",
    options: Any = None,
) -> list[NDArray[Any]]:
    """Run a session once; None of ``outputs`` means all. ``options``: onnxruntime's RunOptions, if any.

    Raises:
        InferenceError: onnxruntime failed; the message names the shapes that went in.
    """
    try:
        names = None if outputs is None else list(outputs)
        return [np.asarray(array) for array in session.run(names, feed, options)]
    except Exception as error:  # onnxruntime's errors share no base class of their own
        shapes = ", ".join(f"{key} {list(array.shape)}" for key, array in feed.items())
        raise InferenceError(
            f"onnxruntime could not run {name} on {shapes}: {shortened(error, LONGEST_REASON)}; try one "
            "smaller frame, or another version of onnxruntime"
        ) from error


def let_go_of_memory(session: Any, outputs: Sequence[str], feed: Mapping[str, NDArray[Any]]) -> None:
    """Free the memory that runs left in a session for later ones, which then take it anew.

    Args:
        session: on the CPU at least.
        outputs: names, as a run takes them.
        feed: likewise; nothing is computed.
    """
    options = load_onnxruntime().RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    # onnxruntime gives it back only at the end of a run. This one ends before its first node, with an error
    # that is none; as it is where a build of onnxruntime pools no memory.
    options.terminate = True
    with contextlib.suppress(Exception):
        session.run(list(outputs), feed, options)


def load_onnxruntime() -> ModuleType:
    """Import onnxruntime.

    Raises:
        MissingDependencyError: it is missing, or half removed by the swap with onnxruntime-gpu.
    """
    try:
        with interruptible_import():
            module = importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise MissingDependencyError(f"onnxruntime is broken: {error}; {_REINSTALL}") from error
        raise MissingDependencyError(
            "running a bundle needs onnxruntime, which is not installed; run: pip install onnxruntime"
        ) from error
    except ImportError as error:
        raise MissingDependencyError(f"onnxruntime cannot be loaded: {error}; {_REINSTALL}") from error
    if not hasattr(module, "InferenceSession"):
        raise MissingDependencyError(f"onnxruntime is installed by half; {_REINSTALL}")
    return module


def _options(onnxruntime: ModuleType, settings: SessionSettings) -> Any:
    options, level = onnxruntime.SessionOptions(), onnxruntime.GraphOptimizationLevel
    options.intra_op_num_threads = settings.threads or 0
    options.inter_op_num_threads = 1
    # What fails is raised, and told once by who catches it.
    options.log_severity_level = _FATAL_ONLY
    options.graph_optimization_level = {
        "all": level.ORT_ENABLE_ALL,
        "as-typed": level.ORT_ENABLE_EXTENDED,
        "none": level.ORT_DISABLE_ALL,
    }[settings.optimisation]
    if settings.optimisation == "as-typed":
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options
