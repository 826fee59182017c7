"""Train, export and evaluate on the scanned digits of ``edgeosr demo``, by the product's own commands."""

import argparse
import sys
import tempfile
from pathlib import Path

from edgeosr.bench.gpu_rung.command import run_command
from edgeosr.bench.gpu_rung.step_report import StepReport, step_main
from edgeosr.bench.gpu_rung.training import require_training

LEAST_AUROC = 0.7  # on a card as on a processor; random scores give 0.5


def go_the_whole_way(report: StepReport, options: argparse.Namespace) -> None:
    """Run the three commands; each needs the one before.

    Raises:
        NotRunHereError: this Python is too old to train.
    """
    require_training()
    from edgeosr.bench.demo import BATCH, DATA, SIDE, SPLIT  # it trains: not for a Python too old for that

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run, bundle = folder / "digits", folder / "digits.edgeosr"
        which = ["--data", f"{DATA}:0,1,2,3", "--known", "0,1"]
        if not options.small:
            which = ["--data", DATA, "--split", str(SPLIT)]
        words = [*which, "--input-size", str(SIDE), "--batch-size", str(BATCH), "--rotation-weight", "0"]
        words += ["--folds", "0", "--lambda-g", "1", "--out", str(run)]
        threads = ["--threads", "1"] if options.small else []
        words += threads
        if options.small:
            words += ["--epochs", "1", "--no-discriminator"]
        else:
            words += ["--epochs", "20", "--max-minutes", "0.3"]
        trained = run_command(report, options, folder, "train", *words)
        if trained is None:
            return
        report.put("trained", trained["result"])
        if run_command(report, options, folder, "export", str(run), "--out", str(bundle), *threads) is None:
            return
        found = run_command(report, options, folder, "evaluate", str(bundle), *threads)
        if found is None:
            return
        auroc = float(found["scores"]["fused"]["auroc"])
        report.put("auroc", auroc)
        report.put("false_reject_rate", found.get("false_reject_rate"))
        if not options.small and not auroc >= LEAST_AUROC:  # one epoch has learnt nothing
            report.fail(f"AUROC on the digits must be at least {LEAST_AUROC}; got {auroc:.3f}")


if __name__ == "__main__":
    sys.exit(step_main("Train, export and evaluate on the scanned digits.", go_the_whole_way))
