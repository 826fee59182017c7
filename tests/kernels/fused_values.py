"""How far each part of the kernel's verdicts may be from the float64 reference, by the part's name."""

from typing import Any

import numpy as np
from fused_cases import Case
from numpy.typing import NDArray

from edgeosr.kernels.device_verdicts import LAYOUT

LOGARITHMS = ("log_jacobian", "log_norm", "raw_jacobian")  # of numbers that are right to 1e-6, relative


def allowed(case: Case, part: str, exact: NDArray[np.float64], condition: Any) -> NDArray[np.float64]:
    """The largest error of each sample's part.

    Args:
        case: the launch.
        part: its name.
        exact: the reference's values.
        condition: how much the case's J amplifies rounding, see ``fused_outcome``.
    """
    if part in LOGARITHMS:
        rounding = np.spacing(np.abs(exact).astype(np.float32))  # of the logarithm itself
        return 1e-6 * (condition if part == "log_jacobian" else 1) + rounding
    relative = 1e-2 if case.half_weights and part == "discriminator" else 1e-5
    if part == "movr_loss" and case.head == "cosine" and case.dimension == 1:
        relative = 3e-4  # every cosine is 1 or -1, where sqrt(1 - c^2) turns 1e-7 into 3e-4
    return np.full(exact.shape, relative * (np.abs(exact).max() + 1))


def wrong_part(
    case: Case, parts: tuple[str, ...], verdicts: NDArray[Any], expected: NDArray[Any], condition: Any = 1.0
) -> str | None:
    """Say which part is wrong in verdicts of finite samples, or that one has no place there."""
    if (verdicts["layout"] != (LAYOUT | len(parts) << 16)).any():
        return f"layout {np.unique(verdicts['layout'])}"
    if not np.isnan(verdicts["values"][:, len(parts) :]).all():
        return "there are values beyond the parts"
    for place, part in enumerate(parts):
        found, exact = verdicts["values"][:, place].astype(np.float64), expected[:, place]
        if part == "log_jacobian" and case.probes and case.dimension == 1:
            # The unit embedding cannot turn: J_u is 0, and its root rounds.
            found, exact = np.exp(found), np.exp(exact)
            bound = np.full(exact.shape, 1e-3 * found.max() + 1e-2)
        else:
            bound = allowed(case, part, exact, condition)
        error = np.abs(found - exact)
        if not (error <= bound).all():
            return f"{part}: off by {error.max():.3g}, {(error / bound).max():.3g} times what is allowed"
    return None
