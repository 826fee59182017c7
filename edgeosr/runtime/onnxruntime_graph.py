"""The scoring graph on onnxruntime: frames in, label, score and values out.

onnxruntime is imported on use. Which provider runs is asked from the session, never from the list of
available ones: a provider that is available may still fail to load.
"""

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import BundleError, MissingDependencyError, UsageError, require_choice
from edgeosr.runtime.rows import Rows
from edgeosr.verdict import VALUE_NAMES

CPU_ONLY = ("CPUExecutionProvider",)
_OUTPUTS = {"label": "tensor(int64)", "score": "tensor(float)", "values": "tensor(float)"}
# TF32 keeps 10 bits of mantissa: enough to move a score across the calibrated threshold.
_PROVIDER_OPTIONS: dict[str, dict[str, str]] = {"CUDAExecutionProvider": {"use_tf32": "0"}}
# onnxruntime and onnxruntime-gpu install into one folder, so removing one breaks the other.
_REINSTALL = (
    "run: pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime "
    "(or onnxruntime-gpu; never both)"
)


def load_onnxruntime() -> ModuleType:
    """Import onnxruntime.

    Raises:
        MissingDependencyError: it is missing, or half removed by the swap with onnxruntime-gpu.
    """
    try:
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


class OnnxRuntimeGraph:
    """A loaded ``model.onnx``. ``run`` may be called from several threads at once.

    Args:
        model: the file's bytes; not kept.
        threads: of one call, None for one a physical core.
        providers: onnxruntime execution providers in order of preference; the CPU runs what is left over.

    Raises:
        BundleError: onnxruntime cannot load the model, or it is no scoring graph.
        MissingDependencyError: onnxruntime is missing, or a wanted provider does not load.
        UsageError: ``threads`` below 1, or a provider this onnxruntime was not built with.
    """

    def __init__(
        self, model: bytes, *, threads: int | None = None, providers: Sequence[str] = CPU_ONLY
    ) -> None:
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise UsageError(f"threads must be a whole number from 1, or None for all cores; got {threads!r}")
        onnxruntime = load_onnxruntime()
        available = onnxruntime.get_available_providers()
        for provider in providers:
            require_choice("a provider of this onnxruntime", provider, available)
        self._session: Any = _make_session(onnxruntime, model, threads, providers)
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        for provider in providers:
            if provider not in self.providers:
                raise MissingDependencyError(
                    f"{provider} is built into onnxruntime {onnxruntime.__version__} but did not load "
                    f"(it runs on {', '.join(self.providers)}); install the libraries its release asks for"
                )
        _require_contract(self._session)
        self._orders = {bgr: np.array([2, 1, 0] if bgr else [0, 1, 2], np.int64) for bgr in (False, True)}

    def run(self, frames: NDArray[np.uint8], *, bgr: bool = False) -> Rows:
        """Score a batch.

        Args:
            frames: contiguous uint8 ``[batch, height, width, 3]``, batch >= 1, already checked.
            bgr: the channels come blue first; the graph reorders them after the shrink, without a copy here.

        Raises:
            BundleError: onnxruntime failed.
        """
        feed = {"frames": frames, "channel_order": self._orders[bgr]}
        try:
            return Rows(*self._session.run(list(_OUTPUTS), feed))
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise BundleError(
                f"onnxruntime could not run model.onnx on frames {list(frames.shape)}: {error}"
            ) from error


def _make_session(
    onnxruntime: ModuleType, model: bytes, threads: int | None, providers: Sequence[str]
) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    # Errors only: it would warn that channel_order, an input with a default, is no constant.
    options.log_severity_level = 3
    wanted = [(provider, _PROVIDER_OPTIONS.get(provider, {})) for provider in providers]
    try:
        session = onnxruntime.InferenceSession(model, sess_options=options, providers=wanted)
    except Exception as error:  # onnxruntime's errors share no base class of their own
        raise BundleError(
            f"onnxruntime {onnxruntime.__version__} cannot load model.onnx: {error}; "
            "a newer one may: pip install -U onnxruntime"
        ) from error
    # The Python wrapper keeps the model to be able to build the session anew; ours never does.
    if hasattr(session, "_model_bytes"):
        session._model_bytes = None
    return session


def _require_contract(session: Any) -> None:
    """Raise a BundleError unless inputs and outputs are those of a scoring graph."""
    found = {node.name: node.type for node in session.get_inputs()}
    optional = {node.name: node.type for node in session.get_overridable_initializers()}
    outputs = {node.name: node.type for node in session.get_outputs()}
    widths = [node.shape[-1:] for node in session.get_outputs() if node.name == "values"]
    if (
        found != {"frames": "tensor(uint8)"}
        or optional.get("channel_order") != "tensor(int64)"
        or any(outputs.get(name) != kind for name, kind in _OUTPUTS.items())
        or widths != [[len(VALUE_NAMES)]]
    ):
        raise BundleError(
            "model.onnx is no edgeosr scoring graph: expected the input frames (uint8), the optional input "
            f"channel_order (int64) and the outputs label (int64), score (float), values (float [batch, "
            f"{len(VALUE_NAMES)}]); got {found}, {optional}, {outputs}"
        )
