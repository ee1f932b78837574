"""What the database holds of one run: scores, methods, duplicates among the methods, clusters of images."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from salcheck.questions import Question, against
from salcheck.report.stats import agreeing, alike
from salcheck.store.results import Store

# Classes: of fewer, no p could stay below .05 after Holm's correction for 200 comparisons (the least is 2 / 2**C).
FEWEST = 14

# Of a method whose code has changed since it was scored first, the edition that was asked for last is shown.
NEWEST = """
NOT EXISTS (
    SELECT 1 FROM methods AS other JOIN run_methods AS later ON later.method_id = other.id AND later.run_id = :run
    WHERE other.name = methods.name AND other.parameters = methods.parameters AND other.id <> methods.id
    AND later.asked > (
        SELECT COALESCE(MAX(own.asked), 0) FROM run_methods AS own
        WHERE own.run_id = :run AND own.method_id = methods.id
    )
)
"""

METHODS = f"""
SELECT id, spec, control FROM methods
WHERE EXISTS (SELECT 1 FROM scores WHERE scores.run_id = :run AND scores.method_id = methods.id) AND {NEWEST}
"""

SCORES = """
SELECT method_id, level, image_id, value, kind, note FROM scores
WHERE run_id = :run AND metric = :metric
ORDER BY method_id, level, image_id
"""

TIED = """
SELECT method_id, level, COUNT(*) AS images FROM scores
WHERE run_id = :run AND metric = 'tied' AND value > 0
GROUP BY method_id, level
"""

IMAGES = """
SELECT images.id, images.key, labels FROM run_images JOIN images ON images.id = run_images.image_id
WHERE run_id = :run AND images.id IN (SELECT image_id FROM scores WHERE run_id = :run AND value IS NOT NULL)
ORDER BY images.id
"""

SIGNATURES = """
SELECT maps.method_id, role, maps.image_id, signature
FROM maps JOIN runs ON runs.model_id = maps.model_id
JOIN run_images ON run_images.run_id = runs.id AND run_images.image_id = maps.image_id
WHERE runs.id = :run AND role IN :roles
ORDER BY maps.method_id, role, maps.image_id
"""


@dataclass(frozen=True)
class ScoredMethod:
    """A method of the run. spec: its name with its parameters. floor: the question names it as one to be beaten."""

    id: int
    spec: str
    control: bool
    floor: bool

    @property
    def hurdle(self) -> bool:
        """Whether other methods must beat it."""
        return self.control or self.floor


@dataclass(frozen=True)
class Stored:
    """One run. main: the rows of the tested metric, (method_id, level, image_id, value, kind, note). methods: in the
    order in which they were added, floors and then controls last. images: those with any score, indexed by id, with the
    columns `key`, `class` (the first label, NaN without one) and `cluster` (a number).
    """

    store: Store
    about: Mapping[str, Any]
    question: Question
    main: pd.DataFrame
    methods: Sequence[ScoredMethod]
    images: pd.DataFrame

    @property
    def run(self) -> int:
        return self.about["run"]

    @property
    def seed(self) -> int:
        return self.about["seed"]

    @property
    def roles(self) -> list[str]:
        """The names under which the run's maps are stored, those against a rival too."""
        usual = [str(role) for role in self.question.roles]
        roles = json.loads(self.about["parameters"]).get("roles", usual)
        return [*roles, *against(roles)]

    @property
    def threshold(self) -> float | None:
        return json.loads(self.about["parameters"]).get("threshold")

    @property
    def clusters(self) -> NDArray[np.int64]:
        """(n,) of the images."""
        return self.images["cluster"].to_numpy(dtype=np.int64)

    def rows(self, metric: str) -> pd.DataFrame:
        """The scores of one metric."""
        return self.main if metric == self.question.metric else self.store.query(SCORES, run=self.run, metric=metric)

    def wide(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Scores with a column for each (method, level) and a row for each image with any score; NaN where none."""
        scored = rows[rows["value"].notna()]
        table = scored.pivot(index="image_id", columns=["method_id", "level"], values="value")
        return table.reindex(self.images.index)

    @cached_property
    def tied(self) -> dict[tuple[int, float], int]:
        """By (method, level): the number of images in which position or chance chose among equal values."""
        return self.store.query(TIED, run=self.run).set_index(["method_id", "level"])["images"].to_dict()

    @cached_property
    def twins(self) -> dict[int, ScoredMethod]:
        """Methods whose maps rank every pixel as another method's do: their ids, mapped to the method they duplicate.

        Of two duplicates a control or floor counts as the first. Signatures cover the positive part of maps only; some
        diagnostics read more, so the scores must agree too.
        """
        if not self.roles:
            return {}
        rows = self.store.query(SIGNATURES, run=self.run, roles=self.roles)
        table = rows.pivot(index=["role", "image_id"], columns="method_id", values="signature")
        order = [m for m in sorted(self.methods, key=lambda m: (not m.control, not m.floor)) if m.id in table]
        known = {str(method.id): method for method in order}
        signatures = {id: table[method.id].to_numpy(dtype=float) for id, method in known.items()}
        twins = {int(id): known[twin] for id, twin in alike(signatures).items()}
        scores = self.main.pivot(index=["image_id", "level"], columns="method_id", values="value")
        pairs = {id: [scores[one].to_numpy(float) for one in (id, twin.id)] for id, twin in twins.items()}
        return {id: twin for id, twin in twins.items() if agreeing(*pairs[id])}

    @cached_property
    def distinct(self) -> list[ScoredMethod]:
        """The methods that are compared: no control, no floor, and of duplicates only the first."""
        twins = self.twins
        return [m for m in self.methods if not m.hurdle and (m.id not in twins or twins[m.id].hurdle)]


def load(store: Store, about: Mapping[str, Any], question: Question) -> Stored:
    """What the database holds of the run."""
    main = store.query(SCORES, run=about["run"], metric=question.metric)
    scored, rows = set(main["method_id"]), store.query(METHODS, run=about["run"]).sort_values("id")
    methods = [
        ScoredMethod(int(id), spec, bool(control), spec in question.floors and not control)
        for id, spec, control in rows.itertuples(index=False)
        if id in scored
    ]
    images = store.query(IMAGES, run=about["run"]).set_index("id")
    labels = [json.loads(text) for text in images.pop("labels")]
    images["class"] = np.array([own[0] if own else np.nan for own in labels], dtype=float)
    images["cluster"] = _clusters(images["class"])
    main = main[main["method_id"].isin([method.id for method in methods])]
    return Stored(store, about, question, main, sorted(methods, key=lambda m: (m.control, m.floor)), images)


def _clusters(classes: pd.Series) -> NDArray[np.int64]:
    """A number for each image, the same for images of one class. An image without a label is its own cluster.

    With fewer than FEWEST classes every image is its own cluster; conclusions then hold for these classes only.
    """
    alone = np.arange(len(classes), dtype=np.int64)
    numbers, _ = pd.factorize(classes)
    together = np.where(numbers < 0, len(classes) + alone, numbers)
    return together if np.unique(together).size >= FEWEST else alone
