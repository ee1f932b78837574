"""How many images of a run the model classifies correctly, by the predictions and labels that are stored."""

import json
from dataclasses import dataclass

from salcheck.store.results import Store

ALPHA = 0.05

SEEN = """
SELECT images.labels AS labels, predictions.class AS predicted, models.classes AS classes
FROM run_images JOIN runs ON runs.id = run_images.run_id JOIN models ON models.id = runs.model_id
JOIN images ON images.id = run_images.image_id
JOIN predictions ON predictions.model_id = runs.model_id AND predictions.image_id = images.id AND predictions.rank = 1
WHERE run_images.run_id = :run AND images.labels <> '[]'
"""


@dataclass(frozen=True)
class Accuracy:
    """Of `of` images with known classes that the model has seen, it put `right` into one of these. chance: the share
    that guessing would get right.
    """

    right: int
    of: int
    chance: float

    def __str__(self) -> str:
        return f"{self.right} of {self.of} right"

    @property
    def no_better_than_chance(self) -> bool:
        """By a one-sided binomial test; False where so few images could not show it."""
        from scipy.stats import binomtest

        if self.of == 0 or not 0 < self.chance < 1 or self.chance**self.of > ALPHA:
            return False
        return bool(binomtest(self.right, self.of, self.chance, alternative="greater").pvalue > ALPHA)


def accuracy(store: Store, run: int) -> Accuracy:
    """Of the run's images that the model has seen, as stored."""
    rows = store.query(SEEN, run=run)
    labels = [json.loads(text) for text in rows["labels"]]
    right = sum(predicted in own for own, predicted in zip(labels, rows["predicted"], strict=True))
    shares = [min(1.0, len(own) / classes) for own, classes in zip(labels, rows["classes"], strict=True)]
    return Accuracy(right, len(labels), sum(shares) / len(shares) if shares else 0.0)
