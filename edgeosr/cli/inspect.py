"""``edgeosr inspect``."""

from edgeosr.cli.options import Bundle, Json
from edgeosr.cli.output import command_line, show


def inspect(bundle: Bundle = None, json: Json = False) -> None:
    """Check a bundle and say what is in it.

    Every byte is compared with the manifest first, and every file is read as the runtime reads it.

    Examples:
        edgeosr inspect                                     the newest bundle
        edgeosr inspect cats.edgeosr --json
    """
    from edgeosr.bundle.directory import read_bundle
    from edgeosr.bundle.scorer import bundle_scorer
    from edgeosr.cli.bundle_report import document_from_bundle, text_from_bundle
    from edgeosr.cli.newest import bundle_or_newest
    from edgeosr.runtime.bundle_golden import bundle_golden

    found = read_bundle(bundle_or_newest(bundle))
    bundle_scorer(found)
    bundle_golden(found)
    then = command_line("edgeosr", "predict", found.path, "IMAGE")
    show(
        text=text_from_bundle(found), document=document_from_bundle(found), json=json, written=None, then=then
    )
