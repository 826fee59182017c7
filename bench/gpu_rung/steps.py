"""The steps of the rung, most valuable first: when the time is up, what is missing is worth least."""

from dataclasses import dataclass

ROOM = "edgeosr.bench.gpu_rung"
PHASES, TESTS, BUNDLE = "{phases}", "{tests}", "{bundle}"  # folders that the rung fills in


@dataclass(frozen=True, kw_only=True)
class Step:
    """One process.

    Attributes:
        name: short, for ``--only`` and the record.
        what: what it shows, for people.
        module: run as ``python -m``.
        limit_s: after so many seconds it is ended; what it had measured stays.
        arguments: more words; ``PHASES``, ``TESTS`` and ``BUNDLE`` are filled in.
        gates: its failure is one of the rung; else it is only timed.
    """

    name: str
    what: str
    module: str
    limit_s: float
    arguments: tuple[str, ...] = ()
    gates: bool = True


MACHINE = Step(
    name="machine",
    what="the card, its driver, its clocks; versions",
    module=f"{ROOM}.card",
    limit_s=100,  # torch's first import from a cold disk is among it
)
STEPS = (
    Step(
        name="kernel",
        what="self-test: label, parts, score against float64; the same bits 32 times more",
        module=f"{ROOM}.kernel_check",
        limit_s=90,
        arguments=("--seconds", "60"),
    ),
    Step(
        name="phases",
        what="where the kernel's time goes: builds that stop after a phase",
        module=f"{ROOM}.phase_table",
        limit_s=60,
        arguments=("--phases", PHASES),
    ),
    Step(
        name="rivals",
        what="timed, not gated: the kernel beside unfused torch and, where it is installed, TensorRT",
        module=f"{ROOM}.kernel_check",
        limit_s=40,
        arguments=("--rivals",),
        gates=False,
    ),
    Step(
        name="runner",
        what="the tests marked gpu: the real EngineRunner, torch in the engine's place",
        module=f"{ROOM}.gpu_marked",
        limit_s=60,
        arguments=("--tests", TESTS),
    ),
    Step(
        name="engine",
        what="a real TensorRT engine of a small bundle, where TensorRT is installed",
        module=f"{ROOM}.engine",
        limit_s=60,
        arguments=("--bundle", BUNDLE),
    ),
    Step(
        name="overhead",
        what="what the open set costs in the whole run, beside unfused torch",
        module=f"{ROOM}.overhead",
        limit_s=80,
    ),
    Step(
        name="plans",
        what="which plan is fastest, for the plan table; and the same bits from each",
        module=f"{ROOM}.plans",
        limit_s=60,
    ),
    Step(
        name="again",
        what="a case that once differed from itself: many thousand launches in many conditions",
        module=f"{ROOM}.again",
        limit_s=80,
        arguments=("--seconds", "60"),
    ),
    Step(
        name="sanitizers",
        what="compute-sanitizer: its four tools, each small case in a process of its own",
        module=f"{ROOM}.sanitizers",
        limit_s=130,
    ),
    Step(
        name="counters",
        what="what the card counts: instructions, sectors, wavefronts, stalls (Nsight Compute)",
        module=f"{ROOM}.counters",
        limit_s=40,
    ),
    Step(
        name="compiled",
        what="timed, not gated: the same beside torch.compile, whose compiler may take minutes",
        module=f"{ROOM}.overhead",
        limit_s=60,
        arguments=("--compiled",),
        gates=False,
    ),
    Step(
        name="training",
        what="edgeosr train: images a second",
        module=f"{ROOM}.training",
        limit_s=45,
    ),
    Step(
        name="whole-way",
        what="train, export and evaluate on the scanned digits of the demo",
        module=f"{ROOM}.whole_way",
        limit_s=80,
    ),
    Step(
        name="rows",
        what="timed, not gated: the bank's 256 rows, C rows more, z with K = 8 tangents",
        module=f"{ROOM}.rows_and_tangents",
        limit_s=30,
        gates=False,
    ),
)
