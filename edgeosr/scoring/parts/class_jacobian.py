"""log of the undivided Jacobian norm, measured by what is usual for the predicted class."""

import numpy as np
from numpy.typing import NDArray

from edgeosr.scoring.fusion import CONSTANT
from edgeosr.scoring.graph import GraphTensors, GraphWriter, Value, number
from edgeosr.scoring.part import Batch, Float64, Part, TrainFeatures
from edgeosr.scoring.scorer import PartConstants, Scorer
from edgeosr.verdict import FLOOR

# A mean and a deviation of fewer images of a class say more of these images than of the class.
FEWEST_IMAGES = 10
# Least deviation of a class, as a share of that of all images.
LEAST_SPREAD = 0.1


class ClassJacobian(Part):
    """(log |dz/dh|_F - mean_c) / std_c, c the predicted class, |dz/dh|_F not taken below FLOOR.

    mean_c and std_c are those of the train images whose true class is c, std_c not below a tenth of the
    deviation of all train images. A class of fewer than ten images takes mean and deviation of all.
    ``numbers`` holds the C means, then the C deviations.
    """

    name, code = "class_jacobian", 9
    title, meaning = "Jacobian norm for its class", "z changes more than is usual for this class"
    counts_masks = True

    def carried_by(self, scorer: Scorer) -> bool:
        """A scorer with a closed form and with two numbers a class, the deviations above 0."""
        own = scorer.constants.get(self.name)
        if scorer.closed_form is None or own is None or own.numbers.size != 2 * scorer.classes:
            return False
        return bool((own.numbers[scorer.classes :] > 0).all())

    def constants_from(self, features: TrainFeatures, scorer: Scorer) -> PartConstants | None:
        """Return the numbers; None without a closed form, or if the norm is the same for all images."""
        if scorer.closed_form is None or features.jacobian_squared is None:
            return None
        logs = np.log(np.maximum(np.sqrt(np.maximum(features.jacobian_squared, 0.0)), FLOOR))
        finite = np.isfinite(logs)
        numbers = _means_and_deviations(logs[finite], features.labels[finite], features.classes)
        if numbers is None:
            return None
        return PartConstants(
            rows=np.zeros((0, scorer.dimension), np.float32),
            biases=np.zeros(0, np.float32),
            numbers=numbers.astype(np.float32),
        )

    def value(self, batch: Batch, scorer: Scorer) -> Float64:
        """See ``Part``."""
        means, deviations = scorer.constants[self.name].numbers.astype(np.float64).reshape(2, -1)
        logs = np.log(np.maximum(batch.jacobian * batch.norm, FLOOR))
        return np.asarray((logs - means[batch.label]) / deviations[batch.label])

    def write(self, writer: GraphWriter, tensors: GraphTensors, scorer: Scorer) -> Value:
        """See ``Part``."""
        op = writer.op
        means, deviations = (
            op("Gather", writer.constant(numbers, f"scoring/{self.name}_{what}"), tensors.label, axis=0)
            for what, numbers in zip(
                ("means", "deviations"), scorer.constants[self.name].numbers.reshape(2, -1), strict=True
            )
        )
        logs = op("Log", op("Max", tensors.undivided, number(writer, FLOOR)))
        return op("Div", op("Sub", logs, means), deviations)


def _means_and_deviations(logs: Float64, labels: NDArray[np.int64], classes: int) -> Float64 | None:
    """Return the C means and then the C deviations; None if the logarithms do not vary."""
    mean, spread = (float(logs.mean()), float(logs.std())) if len(logs) else (0.0, 0.0)
    if not spread > CONSTANT * (1 + abs(mean)):
        return None
    found = np.repeat([mean, spread], classes).reshape(2, classes)
    for label in range(classes):
        own = logs[labels == label]
        if len(own) >= FEWEST_IMAGES:
            found[:, label] = own.mean(), max(float(own.std()), LEAST_SPREAD * spread)
    return found.reshape(-1)


PART = ClassJacobian()
