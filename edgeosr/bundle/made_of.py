"""What to type so that it is about the classifier that a bundle was made of, and not about the newest run."""

from edgeosr.bundle.manifest import Manifest

RUN, MODEL = "RUN", "MODEL.onnx --data FOLDER"
# Marks the folder of a demo, whose run and bundle are nobody's own.
DEMO = "demo.json"


def made_of(manifest: Manifest) -> str:
    """Return what ``edgeosr export`` takes to make the bundle again: words, no path of anybody's machine."""
    return MODEL if manifest.training is None else RUN


def export_again(manifest: Manifest, *options: str) -> str:
    """Return the command that exports the same classifier with other options."""
    return " ".join(("edgeosr export", made_of(manifest), *options))
