"""Every error a user can meet, and the helpers that word them.

A message says what was expected, what came, and what to do next. The command line prints it without a
traceback and exits with the class's ``exit_code``.

    EdgeosrError
    |-- UsageError                  an option or argument has a value that cannot be used
    |-- DataError                   images, labels, splits or parts
    |-- TrainingError               training cannot go on (for example a loss that is not finite)
    |-- ExportError                 a classifier cannot be turned into a bundle
    |   |-- DecisionGateError       a typed graph decides unlike model.onnx
    |   `-- UnsupportedGraphError   a node of the ONNX graph breaks what is needed
    |       `-- NoClosedFormError   the network does not end in a way that has a closed-form Jacobian norm
    |-- BundleError                 a damaged, foreign, older or newer bundle
    |-- FrameError                  a frame of the wrong type, shape or size
    |-- StorageError                a file or directory cannot be written or read
    |-- MissingDependencyError      a package of an extra is not installed
    |-- InferenceError              onnxruntime cannot load or run a graph
    |-- EngineError                 a TensorRT engine cannot be built or chosen
    `-- DeviceError                 the GPU cannot be used
        |-- NoDriverError           no NVIDIA driver
        |-- NoDeviceError           a driver, but no device (or none of that number)
        |-- DriverTooOldError       no build of the kernel that this driver can load
        |-- MissingSymbolError      a loaded build lacks the kernel's entry
        |-- KernelBuildError        a compiler is missing or failed
        |-- EngineRunError          an engine does not run, or is not one of this bundle
        |-- DeviceMemoryError       the device's memory is full
        |-- DeviceLostError         the device failed in a way that ends this process's use of it
        `-- CudaError               any other failure of a driver call
"""

import contextlib
import difflib
import importlib
import importlib.util
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import TypeVar

from edgeosr.printed import brief, printable

Choice = TypeVar("Choice", bound=str)
# What every generator of random numbers that we use takes as its seed.
LARGEST_SEED = 2**32 - 1
MOST_THREADS = 1024


class EdgeosrError(Exception):
    """Base of all errors caused by input, data or environment.

    Attributes:
        exit_code: the process's.
        has_lines: the message's line ends are ours and are printed as such; its author has made every name
            in it ``printable``. Of others the whole message is one line, that no name in it can end.
    """

    exit_code = 1
    has_lines = False


class UsageError(EdgeosrError):
    """An option or argument cannot be used."""

    exit_code = 2


class DataError(EdgeosrError):
    """Images, labels, splits or parts cannot be used."""


class TrainingError(EdgeosrError):
    """Training cannot go on."""


class ExportError(EdgeosrError):
    """A classifier cannot be turned into a bundle."""


class DecisionGateError(ExportError):
    """A typed graph decides otherwise than model.onnx on too many images; names the worst, a line each."""

    has_lines = True


class UnsupportedGraphError(ExportError):
    """A node of an ONNX graph is not what the operation needs; the message names it."""


class NoClosedFormError(UnsupportedGraphError):
    """A graph without a closed-form Jacobian norm.

    Attributes:
        places: each node where the pattern stops, described, a colon and the problem.
    """

    def __init__(self, places: list[str]) -> None:
        self.places = places
        super().__init__(
            "the closed-form Jacobian norm needs Conv (+ BatchNormalization, + skip) -> activation -> global "
            f"average pool; it stops at {', and at '.join(places)}; `--jacobian probes` takes any network, "
            "at some cost; `--jacobian none` exports this classifier without the Jacobian part"
        )


class BundleError(EdgeosrError):
    """A bundle is damaged, foreign, or made by another version."""


class FrameError(EdgeosrError):
    """A frame has the wrong type, shape or size."""


class StorageError(EdgeosrError):
    """A file or directory cannot be written or read."""


class MissingDependencyError(EdgeosrError):
    """A package of an optional extra is missing; the message holds the install line."""


class InferenceError(EdgeosrError):
    """onnxruntime cannot load or run a graph here."""


class EngineError(EdgeosrError):
    """A TensorRT engine cannot be built, or none can be chosen, here."""


class DeviceError(EdgeosrError):
    """The GPU cannot be used; ``model.onnx`` gives the same verdicts on any backend."""


class NoDriverError(DeviceError):
    """The NVIDIA driver is missing."""


class NoDeviceError(DeviceError):
    """The driver reports no usable device."""


class DriverTooOldError(DeviceError):
    """No build of the kernel suits this driver and device."""


class MissingSymbolError(DeviceError):
    """A build of the kernel lacks an entry."""


class KernelBuildError(DeviceError):
    """A compiler is missing, or failed; the message holds its own words, trimmed, and the file."""

    has_lines = True


class EngineRunError(DeviceError):
    """An engine does not run, or its inputs and outputs are not those of this bundle."""


class DeviceMemoryError(DeviceError):
    """The device's memory is full; what was running before can go on."""


class DeviceLostError(DeviceError):
    """The device failed in a way that ends every further use of it in this process."""


class CudaError(DeviceError):
    """A CUDA driver call failed; ``call`` is its name, ``code`` CUDA's name of the error."""

    def __init__(self, message: str, *, call: str, code: str) -> None:
        super().__init__(message)
        self.call = call
        self.code = code


def suggestion(value: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'a' or 'b'?"`` for names near ``value``, or an empty string."""
    folded = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(value.casefold(), list(folded), n=3, cutoff=0.6)
    return "; did you mean " + " or ".join(repr(folded[name]) for name in near) + "?" if near else ""


def require_choice(what: str, value: str, choices: Iterable[Choice]) -> Choice:
    """Return ``value`` if it is one of ``choices``.

    Raises:
        UsageError: it is not; the message lists the choices and suggests near ones.
    """
    allowed = tuple(choices)
    for choice in allowed:
        if isinstance(value, str) and choice == value:
            return choice
    near = suggestion(value, allowed) if isinstance(value, str) else ""
    one_of = "" if len(allowed) == 1 else "one of "
    raise UsageError(f"{what} must be {one_of}{', '.join(allowed)}; got {brief(value)}{near}")


def require_whole(what: str, value: object, least: int, most: int | None = None) -> None:
    """Raise a UsageError unless ``value`` is a whole number from ``least`` to ``most`` (None: any)."""
    whole = value if isinstance(value, int) and not isinstance(value, bool) else None
    if whole is None or whole < least or (most is not None and whole > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise UsageError(f"{what} must be a whole number {bounds}; got {brief(value)}")


def require_number(what: str, value: object) -> None:
    """Raise a UsageError unless ``value`` is a number; NaN and infinity are, for the caller's bounds."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UsageError(f"{what} must be a number; got {brief(value)}")


def require_numbers(what: str, values: object, count: int) -> None:
    """Raise a UsageError unless ``values`` are a tuple or list of ``count`` numbers."""
    if not isinstance(values, tuple | list) or len(values) != count:
        raise UsageError(f"{what} must be {count} numbers; got {brief(values)}")
    for value in values:
        require_number(f"each of the {count} numbers of {what}", value)


def require_names(what: str, value: object) -> None:
    """Raise a UsageError unless ``value`` is None or a tuple or list of texts."""
    if isinstance(value, str):
        raise UsageError(f"{what} must be a sequence of names, not one text; got {brief(value)}")
    if value is not None and not (
        isinstance(value, tuple | list) and all(isinstance(name, str) for name in value)
    ):
        raise UsageError(f"{what} must be a sequence of names, such as ('cat', 'dog'); got {brief(value)}")
    for name in value or ():
        if printable(name) != name:
            raise UsageError(
                f"{what} must be names that are text without control characters; got {brief(name)}"
            )


def require_text(what: str, value: object) -> None:
    """Raise a UsageError unless ``value`` is None or a text."""
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{what} must be a text; got {brief(value)}")


def require_seed(what: str, value: object) -> None:
    """Raise a UsageError unless ``value`` is a seed: a whole number from 0 to ``LARGEST_SEED``."""
    require_whole(what, value, 0, LARGEST_SEED)


def require_threads(what: str, value: object) -> None:
    """Raise a UsageError unless ``value`` is None or a number of threads, 1 to ``MOST_THREADS``."""
    if value is not None:
        require_whole(what, value, 1, MOST_THREADS)


def was_interrupted(error: BaseException) -> bool:
    """Tell whether an error is what became of Ctrl-C, or of a signal that ends the command as Ctrl-C does.

    A compiled module that is being imported, for example, turns whatever is raised in it into an ImportError.
    """
    seen: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in seen:
        if isinstance(one, KeyboardInterrupt):
            return True
        seen.append(one)
        one = one.__cause__ or one.__context__
    return False


@contextlib.contextmanager
def interruptible_import() -> Iterator[None]:
    """Have Ctrl-C in an import be Ctrl-C, and no package that is broken."""
    try:
        yield
    except Exception as error:
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        raise


def import_extra(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import ``module`` on use.

    Args:
        module: dotted module name.
        extra: the edgeosr extra that brings it.
        purpose: what it is needed for, in a few words ("training").

    Raises:
        MissingDependencyError: it is not installed; the message holds the install line.
    """
    try:
        with interruptible_import():
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        root = module.split(".")[0]
        if error.name is None or error.name.split(".")[0] != root:
            raise
        raise _missing(root, extra, purpose) from error


def require_extra(module: str, *, extra: str, purpose: str) -> None:
    """Like ``import_extra``, but only look whether the top-level ``module`` is there."""
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise _missing(module, extra, purpose)


def _missing(package: str, extra: str, purpose: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"{purpose} needs the package {package!r}, which is not installed; "
        f"run: pip install 'edgeosr[{extra}]'"
    )
