"""The wheels that a machine lacks, pinned one by one: the archive holds these and the product's."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of machine.

    Attributes:
        name: of the archive.
        title: for people.
        python: its version.
        platforms: tags that its wheels may have.
        architectures: whose phase builds are packed.
        wheels: NAME==VERSION of what it lacks.
        has: what it is taken to have beside Python, for people.
    """

    name: str
    title: str
    python: str
    platforms: tuple[str, ...]
    architectures: tuple[tuple[int, int], ...]
    wheels: tuple[str, ...]
    has: str


_GLIBC = ("2_28", "2_27", "2_24", "2_17")
CARDS = Kind(
    name="cards",
    title="a data-centre or desktop card, x86-64",
    python="3.12",
    platforms=(*(f"manylinux_{version}_x86_64" for version in _GLIBC), "manylinux2014_x86_64"),
    architectures=((7, 5), (8, 9), (9, 0), (12, 0)),
    wheels=(
        "imagehash==4.3.2",
        "iniconfig==2.3.1",
        "kornia==0.9.0",
        "kornia-rs==0.2.0",
        "lightning-fabric==2.6.6",
        "lightning-utilities==0.15.3",
        "onnx-ir==1.1.0",
        "onnxscript==0.7.2",
        "pluggy==1.7.0",
        "pytest==9.2.0",
        "pywavelets==1.9.0",
    ),
    has="torch, onnx, onnxruntime, scipy, scikit-learn, matplotlib, typer, rich, cuda-bindings; ncu and "
    "compute-sanitizer where the steps that need them shall run; a driver of CUDA 13 (an older one runs the "
    "kernel as PTX, without phases)",
)
# JetPack 6. No numpy: torch for a Jetson is built against the one that it brings.
JETSON = Kind(
    name="jetson",
    title="a Jetson with JetPack 6",
    python="3.10",
    platforms=(*(f"manylinux_{version}_aarch64" for version in _GLIBC), "manylinux2014_aarch64"),
    architectures=((8, 7),),
    wheels=(
        "annotated-doc==0.0.6",
        "click==8.5.1",
        "coloredlogs==15.0.1",
        "cuda-bindings==12.9.10",
        "cuda-pathfinder==1.8.3",
        "exceptiongroup==1.3.2",
        "flatbuffers==25.12.19",
        "humanfriendly==10.0",
        "iniconfig==2.3.1",
        "markdown-it-py==4.3.0",
        "mdurl==0.1.2",
        "onnxruntime==1.23.2",
        "packaging==26.4",
        "pillow==12.3.0",
        "pluggy==1.7.0",
        "protobuf==7.36.2",
        "pygments==2.21.0",
        "pytest==9.2.0",
        "rich==15.0.0",
        "shellingham==1.5.4",
        "tomli==2.5.0",
        "typer==0.29.1",
        "typing-extensions==4.16.0",
    ),
    has="torch with its numpy (NVIDIA's for JetPack)",
)
