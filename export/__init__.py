"""From a trained classifier to a calibrated bundle."""
