"""Everything a training run can be told, checked when made."""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from edgeosr.arguments import keep_paths, require_truth
from edgeosr.bundle.left_out import MOST_FOLDS
from edgeosr.data.parts import require_shares
from edgeosr.errors import (
    DataError,
    UsageError,
    require_choice,
    require_names,
    require_number,
    require_numbers,
    require_seed,
    require_text,
    require_threads,
    require_whole,
)
from edgeosr.model.catalogue import TIMM_PREFIX, architecture
from edgeosr.preprocessing import FITS, Fit
from edgeosr.printed import brief, printable

Loss = Literal["movr", "ce"]
LOSSES: tuple[Loss, ...] = ("movr", "ce")
Precision = Literal["auto", "32-true", "bf16-mixed"]
PRECISIONS: tuple[Precision, ...] = ("auto", "32-true", "bf16-mixed")
Strategy = Literal["auto", "ddp", "ddp_spawn"]
STRATEGIES: tuple[Strategy, ...] = ("auto", "ddp", "ddp_spawn")

DEFAULT_FOLDS = 3
ARCH, PRETRAINED_ARCH = "classifier32", "efficientnet-lite0"
LARGEST_SIDE = 4096  # pixels; what ``Preprocessing`` takes
MOST_WATCH_PROBES = 4096
LARGEST_COUNT = 2**31 - 1
LARGEST_FACTOR = 1e30  # torch refuses what float32 cannot hold; the record, what JSON cannot

EPOCHS = 30
# A head on a few hundred kept features learns in seconds, and 30 passes of so few steps leave it unfinished:
# on NEU and DTD 100 raised the accuracy on select images of the folds by 0.3 and 0.4 points.
FROZEN_EPOCHS = 100

# Where a run was made and how it was launched: not part of what it is, so neither recorded nor compared
# when it is resumed. The folds lie beside the run and can be added to any finished one.
CIRCUMSTANCES = (
    "data_root", "out", "resume", "max_minutes", "strategy", "threads", "folds", "fold_epochs",
)  # fmt: skip

# Left out of the record of a run that does not watch: such a run reads and resumes as those made before
# there was a watch.
WATCH = ("watch_jacobian", "watch_images", "watch_probes", "watch_unknown")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How to train one run.

    Attributes:
        data: path or name of the image set (see ``edgeosr.data.catalogue.open_image_set``).
        data_root: where named sets are looked for; None: the environment variable EDGEOSR_DATA. Paths may be
            given as texts.
        known: names of the known classes; None: by ``split``, or all.
        split: number of the set's published known-class list; not together with ``known``.
        fractions: train, select and calibrate shares of the known training images.
        test_fraction: share held out for test where the set has no official test images.
        groups: which images belong together and stay in one part: a file, a pattern or "none" (see
            ``edgeosr.data.given_groups``); None: copies, bursts and the set's own tracks.
        per_group: keep at most this many evenly spaced images of a group (track); None keeps all.
        arch: a name of ``edgeosr.model.catalogue.ARCHITECTURES`` or ``timm:NAME``. None: ``ARCH``, and
            ``PRETRAINED_ARCH`` with ``pretrained``; the settings then hold that name.
        input_size: side of the network's square input, pixels; None: the architecture's own.
        fit: how a frame is brought to the input's aspect ratio.
        pretrained: start from ImageNet weights.
        freeze: keep the backbone as it is and train the head alone, on features computed once.
        loss: "movr" (margin one-versus-rest on cosines) or "ce" (cross-entropy on linear logits).
        temperature, margin: T and m (radians) of the m-OvR loss.
        rotation_weight: weight of the 4-way rotation auxiliary; 0 switches it and its cost off.
        epochs: passes over the train part, if time allows. None: ``EPOCHS``, and ``FROZEN_EPOCHS`` with
            ``freeze``; the settings then hold that number.
        max_minutes: stop after the epoch that would otherwise pass this time; the learning rate then
            anneals over the epochs that fit. None: no cap.
        batch_size: images a step over all processes together.
        lr: peak learning rate of SGD (momentum 0.9, cosine to zero, short linear warm-up). T = 32 makes the
            m-OvR loss steep: with 30 classes 0.05 stays for hundreds of steps where every class is denied.
        weight_decay: on all parameters, BatchNorm, biases and prototypes included (the paper states one
            weight decay and no exception).
        flip: horizontal flips in augmentation; None: where the image set says they keep the meaning.
        shift: random crop after padding by this share of the side, 0 to 0.5; 0 switches it off.
        color_jitter: strength of random brightness, contrast and saturation changes, 0 to 1.
        discriminator: train the OpenGAN discriminator on the embeddings.
        outliers: path or name of images of no known class for the discriminator; None: left-out classes
            choose its epoch, and synthetic images only where there are none.
        lambda_g, lambda_o: OpenGAN's weights of generated features and of outliers; ``lambda_g`` None: chosen
            on real outliers, or on left-out classes.
        folds: networks trained on the same recipe beside the run, each without some known classes, which
            the export then scores as unknown; 0, or 2 to ``MOST_FOLDS`` (never more than known classes).
            None: ``DEFAULT_FOLDS`` where the backbone is trained, there are at least 3 known classes and
            no outliers; else 0. A run keeps the choice of 0 until folds are asked for.
        fold_epochs: epochs of a fold; None: about as many steps as the run really took.
        watch_jacobian: after every epoch measure the Jacobian norm J_u of known and unknown images and draw
            it (see ``edgeosr.training.watch_jacobian``); changes nothing in the training.
        watch_images: number of images of each kind.
        watch_probes: K, the number of fixed random directions of the estimate.
        watch_unknown: path or name of the unknown images; None: test images of the classes not known.
        seed: everything random follows from it.
        out: run directory; None: ``runs/`` and a name made of data, split, architecture and loss.
        resume: go on with the run in ``out`` from its last finished epoch.
        devices: number of processors (GPUs, or CPU processes), or "auto".
        num_nodes: number of machines.
        strategy: Lightning Fabric's way to run several processes.
        precision: "auto" takes bf16-mixed where the processor multiplies bfloat16, else 32-true.
        compile: torch.compile the backbone: needs a C++ compiler on a CPU, takes a minute to begin, and
            rounds differently, so it belongs to what a run is.
        threads: CPU threads of torch in each process; None: by the size of the work (see
            ``edgeosr.training.processors.threads_for``).
    """

    data: str
    data_root: Path | None = None
    known: tuple[str, ...] | None = None
    split: int | None = None
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    test_fraction: float = 0.2
    groups: str | None = None
    per_group: int | None = None
    arch: str = None  # type: ignore[assignment]  # a name from __post_init__ on
    input_size: int | None = None
    fit: Fit = "crop"
    pretrained: bool = False
    freeze: bool = False
    loss: Loss = "movr"
    temperature: float = 32.0
    margin: float = 0.5
    rotation_weight: float = 0.1
    epochs: int = None  # type: ignore[assignment]  # a number from __post_init__ on
    max_minutes: float | None = None
    batch_size: int = 128
    lr: float = 0.01
    weight_decay: float = 1e-3
    flip: bool | None = None
    shift: float = 0.125
    color_jitter: float = 0.0
    discriminator: bool = True
    outliers: str | None = None
    lambda_g: float | None = None
    lambda_o: float = 1.0
    folds: int | None = None
    fold_epochs: int | None = None
    watch_jacobian: bool = False
    watch_images: int = 256
    watch_probes: int = 8
    watch_unknown: str | None = None
    seed: int = 0
    out: Path | None = None
    resume: bool = False
    devices: int | Literal["auto"] = "auto"
    num_nodes: int = 1
    strategy: Strategy = "auto"
    precision: Precision = "auto"
    compile: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("pretrained", "freeze", "discriminator", "watch_jacobian", "resume", "compile"):
            require_truth(name, getattr(self, name))
        if self.flip is not None:
            require_truth("flip", self.flip)
        epochs, arch = FROZEN_EPOCHS if self.freeze else EPOCHS, PRETRAINED_ARCH if self.pretrained else ARCH
        for name, usual in (("epochs", epochs), ("arch", arch)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, usual)
        for name in ("data", "arch", "outliers", "watch_unknown", "groups"):
            require_text(name, getattr(self, name))
        require_names("known", self.known)
        keep_paths(self, "data_root", "out")
        require_numbers("fractions", self.fractions, 3)
        require_number("test_fraction", self.test_fraction)
        if not self.data:
            raise UsageError("data must be a folder of images or a data set's name; got an empty text")
        if self.known is not None and self.split is not None:
            raise UsageError("known and split both choose the known classes; give only one of them")
        if self.resume and self.out is None:
            raise UsageError("resume needs the run directory to go on with; give it as out")
        known = architecture(self.arch)
        require_choice("loss", self.loss, LOSSES)
        require_choice("fit", self.fit, FITS)
        require_choice("precision", self.precision, PRECISIONS)
        require_choice("strategy", self.strategy, STRATEGIES)
        for name, least in (("epochs", 1), ("batch_size", 2), ("num_nodes", 1), ("watch_images", 2)):
            require_whole(name, getattr(self, name), least, LARGEST_COUNT)
        require_whole("watch_probes", self.watch_probes, 1, MOST_WATCH_PROBES)
        require_seed("seed", self.seed)
        for name, least in (("split", 0), ("input_size", 1), ("per_group", 1)):
            most = LARGEST_SIDE if name == "input_size" else LARGEST_COUNT
            if getattr(self, name) is not None:
                require_whole(name, getattr(self, name), least, most)
        require_threads("threads", self.threads)
        if not isinstance(self.devices, str) or self.devices != "auto":
            require_whole("devices", self.devices, 1, LARGEST_COUNT)
        for name in ("lr", "temperature"):
            self._require_between(name, 0, LARGEST_FACTOR, above=True)
        for name in ("rotation_weight", "weight_decay", "lambda_o"):
            self._require_between(name, 0, LARGEST_FACTOR)
        if self.lambda_g is not None:
            self._require_between("lambda_g", 0, LARGEST_FACTOR)
        self._require_between("margin", 0, math.pi / 2)
        self._require_between("shift", 0, 0.5)
        self._require_between("color_jitter", 0, 1)
        if self.max_minutes is not None:
            self._require_between("max_minutes", 0, math.inf, above=True)
        if self.input_size is not None and self.input_size < known.smallest:
            raise UsageError(
                f"{self.arch} needs an input of at least {known.smallest} pixels; got {self.input_size}"
            )
        if self.pretrained and not known.pretrained:
            raise UsageError(
                f"there are no pretrained weights for {self.arch}; leave --arch out, or take timm:NAME"
            )
        if self.freeze and not self.pretrained:
            raise UsageError(
                "freeze keeps the backbone as it is, so it needs pretrained weights; add pretrained"
            )
        self._require_folds()
        if self.watch_jacobian and self.freeze:
            raise UsageError(
                "watch_jacobian follows the embedding over the epochs, but freeze keeps it as it is; "
                "leave one of them out"
            )
        if self.outliers is not None and not self.discriminator:
            raise UsageError("outliers are for the discriminator, which is left out; give only one of them")
        if self.watch_unknown is not None and not self.watch_jacobian:
            raise UsageError("watch_unknown names the images of watch_jacobian; add watch_jacobian")
        require_shares(self.fractions, self.test_fraction)

    def _require_folds(self) -> None:
        whole = isinstance(self.folds, int) and not isinstance(self.folds, bool)
        if self.folds is not None and not (whole and (self.folds == 0 or 2 <= self.folds <= MOST_FOLDS)):
            raise UsageError(
                f"folds must be 0 (none) or a whole number from 2 to {MOST_FOLDS}; got {brief(self.folds)}"
            )
        if self.folds and self.freeze:
            raise UsageError(
                f"folds train the backbone again, but freeze keeps it as it is; got folds {self.folds}; "
                "leave them out: edgeosr export --folds makes the folds of a frozen run, in seconds"
            )
        if self.fold_epochs is not None:
            require_whole("fold_epochs", self.fold_epochs, 1, LARGEST_COUNT)
            if not self.most_folds:
                raise UsageError(
                    f"fold_epochs tells how long folds train, and there are none; got "
                    f"{brief(self.fold_epochs)}; leave it out, or ask for folds, for example --folds 3"
                )

    def _require_between(self, name: str, low: float, high: float, *, above: bool = False) -> None:
        value = getattr(self, name)
        numeric = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
        if not numeric or not low <= value <= high or (above and value == low):
            bounds = f"above {low:g}" if above else f"at least {low:g}"
            bounds += "" if high == math.inf else f" and at most {high:g}"
            raise UsageError(f"{name} must be a number {bounds}; got {brief(value)}")

    @property
    def size(self) -> int:
        """Side of the network's input, pixels."""
        return self.input_size or architecture(self.arch).input_size

    @property
    def most_folds(self) -> int:
        """Most folds of left-out classes, whatever the number of known classes; 0 for none."""
        if self.folds is not None:
            return self.folds
        return 0 if self.freeze or self.outliers is not None else DEFAULT_FOLDS

    @property
    def rotates(self) -> bool:
        """True if the rotation auxiliary takes part."""
        return self.rotation_weight > 0 and not self.freeze

    def as_json(self) -> dict[str, Any]:
        """Return plain values of all settings but the CIRCUMSTANCES and unused later additions.

        Without WATCH, ``compile`` and ``groups`` a run reads and resumes as those made before there were any.
        """
        left_out = CIRCUMSTANCES if self.watch_jacobian else CIRCUMSTANCES + WATCH
        left_out = left_out if self.compile else (*left_out, "compile")
        left_out = left_out if self.groups else (*left_out, "groups")
        values = {key: value for key, value in asdict(self).items() if key not in left_out}
        # Paths may be no text; opening one that was kept in this form finds it (``path_from_user``).
        values = {key: printable(value) if isinstance(value, str) else value for key, value in values.items()}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def settings_from_json(values: dict[str, Any], **circumstances: Any) -> TrainSettings:
    """Return the settings that ``as_json`` wrote, with the given CIRCUMSTANCES.

    Raises:
        DataError: a field is not one of ours: the values come from another version.
    """
    names = {field.name for field in fields(TrainSettings)}
    foreign = sorted(set(values) - names)
    if foreign:
        raise DataError(
            f"the run's settings hold {', '.join(foreign)}, unknown to this edgeosr; train it again"
        )
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return TrainSettings(**{**plain, **circumstances})


def default_name(settings: TrainSettings) -> str:
    """Return a run name made of data, split, architecture and loss, safe as a directory name."""
    parts = [Path(settings.data.split(":")[0]).name or "data"]
    if settings.split is not None:
        parts.append(f"split{settings.split}")
    parts += [settings.arch.replace(TIMM_PREFIX, "timm-"), settings.loss]
    return "-".join("".join(c if c.isalnum() or c in "-_." else "_" for c in part) for part in parts)
