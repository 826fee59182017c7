"""What the records of a run and of its folds tell about folds that learnt too little; without torch."""

from edgeosr.data.class_folds import has_collapsed, least_accuracy
from edgeosr.run import RunRecord


def surely_collapsed(fold: RunRecord, run: RunRecord) -> bool:
    """Tell whether a fold is far below its run, whichever images the run got wrong.

    How the run does among the fold's classes alone is in no record, so this is told from the least that it
    can be. The export measures it (``edgeosr.export.fold``), and leaves out these folds and perhaps others.

    Args:
        fold: record of a finished fold.
        run: of the run that it belongs to.
    """
    images, of_fold = (int(one.data["sizes"]["select"][0]) for one in (run, fold))
    full = least_accuracy(float(run.result["select_accuracy"]), images, of_fold)
    return has_collapsed(float(fold.result["select_accuracy"]), full, len(fold.data["known"]))
