"""``golden.npz`` of a bundle, held against its manifest; errors name the bundle."""

from edgeosr.bundle.directory import Bundle
from edgeosr.bundle.scorer import bundle_scorer
from edgeosr.errors import BundleError
from edgeosr.runtime.golden import Golden, read_golden


def bundle_golden(bundle: Bundle) -> Golden:
    """Read the golden frames of a bundle and their verdicts.

    Raises:
        BundleError: see ``read_golden``; the message begins with the file's path.
    """
    try:
        return read_golden(bundle.files["golden.npz"], bundle.manifest)
    except BundleError as error:
        raise BundleError(f"{bundle.path}/{error}") from error


def require_unedited(bundle: Bundle) -> None:
    """Hold the manifest against what lies beside it, which shows what was edited in it alone.

    Raises:
        BundleError: ``golden.npz`` or ``scorer.npz`` is not that of the manifest.
    """
    bundle_scorer(bundle)
    bundle_golden(bundle)
