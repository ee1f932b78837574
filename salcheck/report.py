"""From stored scores to claims: rows by SQL, statistics of them, and a verdict in words."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from salcheck.errors import SalcheckError
from salcheck.folder import unknown
from salcheck.questions import QUESTIONS, Question
from salcheck.stats import CONFIDENCE, RESAMPLES, ZERO_METHOD, Summary, alike, holm, summarise
from salcheck.store import Store

ALPHA = 0.05
REASONS = 5  # at most so many are spelt out

RUNS = """
SELECT runs.id AS run, question, arch, models.name AS model, layer, weights, models.device, dtype,
       transform, datasets.name AS dataset, datasets.size AS dataset_size, datasets.digest AS dataset_digest,
       reference, runs.parameters, seed, batch_size, versions, command, created,
       (SELECT COUNT(*) FROM run_images WHERE run_images.run_id = runs.id) AS drawn
FROM runs JOIN models ON models.id = runs.model_id JOIN datasets ON datasets.id = runs.dataset_id
WHERE EXISTS (SELECT 1 FROM scores WHERE scores.run_id = runs.id)
ORDER BY runs.id
"""

METHODS = """
SELECT id, spec, control FROM methods
WHERE EXISTS (SELECT 1 FROM scores WHERE scores.run_id = :run AND scores.method_id = methods.id)
"""

SCORES = """
SELECT method_id, image_id, value, note FROM scores
WHERE run_id = :run AND metric = :metric
ORDER BY method_id, image_id
"""

TIED = """
SELECT method_id, COUNT(*) AS images FROM scores
WHERE run_id = :run AND metric = 'tied' AND value > 0
GROUP BY method_id
"""

SIGNATURES = """
SELECT maps.method_id, role, maps.image_id, signature
FROM maps JOIN runs ON runs.model_id = maps.model_id
JOIN run_images ON run_images.run_id = runs.id AND run_images.image_id = maps.image_id
WHERE runs.id = :run
ORDER BY maps.method_id, role, maps.image_id
"""

FACTS = """
SELECT facts.method_id, role, facts.name, facts.image_id, facts.value
FROM facts JOIN runs ON runs.model_id = facts.model_id
JOIN run_images ON run_images.run_id = runs.id AND run_images.image_id = facts.image_id
WHERE runs.id = :run
"""


@dataclass(frozen=True)
class Line:
    """One method in one run: its summary, what was left out, and the verdict."""

    question: str
    run: int
    arch: str
    method: str
    control: bool
    summary: Summary
    holm: float | None
    blank: int
    tied: int
    excluded: int
    failed: int
    same_as: str | None
    verdict: str

    @property
    def values(self) -> dict[str, Any]:
        """The line as one flat record."""
        rest = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "summary"}
        head = {name: rest.pop(name) for name in ("question", "run", "arch", "method", "control")}
        return head | dataclasses.asdict(self.summary) | rest


@dataclass(frozen=True)
class Section:
    """One run: where its numbers come from, a line per method, and remarks that a reader must know."""

    question: Question
    about: Mapping[str, Any]
    lines: Sequence[Line]
    remarks: Sequence[str]

    @cached_property
    def parameters(self) -> dict[str, Any]:
        return json.loads(self.about["parameters"])


@dataclass(frozen=True)
class Report:
    """Sections in the order of their runs, and what was left out of the report."""

    sections: Sequence[Section]
    remarks: Sequence[str]


def make_report(store: Store, question: str | None = None, run: int | None = None) -> Report:
    """The report over all questions, one question, or one run.

    Of runs that differ in nothing but seed, reference or code the newest is shown; runs without scores are not.
    Raises SalcheckError where the database holds no such run.
    """
    runs = store.query(RUNS)
    chosen = _choose(runs, question, run)
    sections = [_section(store, _about(row)) for row in chosen.to_dict("records")]
    rest = [str(id) for id in runs["run"] if id not in set(chosen["run"])]
    left_out = f"Not shown, each with its own salcheck report --run: run {', '.join(rest)}."
    return Report(sections, [left_out] if rest and run is None else [])


def _choose(runs: pd.DataFrame, question: str | None, run: int | None) -> pd.DataFrame:
    if question is not None and question.lower() not in QUESTIONS:
        raise SalcheckError(unknown("question", question, QUESTIONS))
    if run is not None:
        chosen = runs[runs["run"] == run]
        if chosen.empty:
            there = ", ".join(str(one) for one in runs["run"]) or "none"
            raise SalcheckError(f"no run {run} in this database: there is {there}")
        if chosen["question"].iloc[0] not in QUESTIONS:
            raise SalcheckError(unknown("question", chosen["question"].iloc[0], QUESTIONS))
        return chosen
    asked = runs[runs["question"].isin(QUESTIONS if question is None else [question.lower()])]
    if asked.empty:
        raise SalcheckError(f"no scores yet{f' for {question}' if question else ''}: run `salcheck eval rq1` first")
    settings = ["model", "weights", "layer", "transform", "device", "dtype", "dataset_digest", "parameters"]
    return asked.groupby(["question", *settings], sort=False).tail(1)


def _about(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of runs, and its `subject`: the model's full name, after the short one if it has one, and its precision
    where that is not float32.
    """
    about = {str(name): value for name, value in row.items()}
    short = "" if ":" in about["arch"] or about["arch"] == about["model"] else about["arch"]
    name = f"{short} ({about['model']})" if short else about["model"]
    return {**about, "subject": name if about["dtype"] == "float32" else f"{name}, {about['dtype']}"}


def _section(store: Store, about: dict[str, Any]) -> Section:
    question = QUESTIONS[about["question"]]
    parameters = json.loads(about["parameters"])
    main = store.query(SCORES, run=about["run"], metric=question.metric)
    tied = store.query(TIED, run=about["run"]).set_index("method_id")["images"]
    methods = store.query(METHODS, run=about["run"]).set_index("id")
    entries = [
        _entry(methods, int(id), frame, parameters["threshold"], about["seed"])
        for id, frame in main.groupby("method_id")
    ]
    names = {entry.id: entry.name for entry in entries}
    twins = _twins(store, about["run"], entries)
    asked = [entry for entry in entries if not entry.control]
    family = [entry for entry in asked if entry.id not in twins or _control(entries, twins[entry.id])]
    adjusted = dict(zip([e.id for e in family], holm([e.summary.wilcoxon for e in family]), strict=True))
    adjusted |= {e.id: adjusted[twins[e.id]] for e in asked if e.id not in adjusted}
    passed = [entry.name for entry in entries if entry.control and _below(entry.summary.wilcoxon)]
    lines = [
        _line(
            about,
            entry,
            holm=adjusted.get(entry.id),
            tied=int(tied.get(entry.id, 0)),
            same_as=names[twins[entry.id]] if entry.id in twins else None,
            verdict=_verdict(question, entry, adjusted.get(entry.id), passed),
        )
        for entry in sorted(entries, key=lambda entry: entry.control)
    ]
    remarks = [*_remarks(about, parameters, main, lines, len(family)), *_fact_remarks(store, about["run"], main, names)]
    return Section(question, about, lines, remarks)


@dataclass(frozen=True)
class _Entry:
    """One method's scores in one run; `notes` counts the images without a score by the kind of their note."""

    id: int
    name: str
    control: bool
    summary: Summary
    notes: Mapping[str, int]


def _entry(methods: pd.DataFrame, id: int, frame: pd.DataFrame, threshold: float, seed: int) -> _Entry:
    kinds = frame["note"].dropna().str.split(":").str[0].value_counts().to_dict()
    values = frame["value"].dropna().to_numpy(dtype=float)
    method = methods.loc[id]
    return _Entry(id, method["spec"], bool(method["control"]), summarise(values, threshold, seed), kinds)


def _line(about: Mapping[str, Any], entry: _Entry, **found: Any) -> Line:
    return Line(
        question=about["question"],
        run=about["run"],
        arch=about["arch"],
        method=entry.name,
        control=entry.control,
        summary=entry.summary,
        blank=entry.notes.get("blank", 0),
        excluded=entry.notes.get("excluded", 0),
        failed=sum(count for kind, count in entry.notes.items() if kind not in ("blank", "excluded")),
        **found,
    )


def _control(entries: Sequence[_Entry], id: int) -> bool:
    return next(entry.control for entry in entries if entry.id == id)


def _below(p: float | None) -> bool:
    return p is not None and p < ALPHA


def _verdict(question: Question, entry: _Entry, p: float | None, passed: Sequence[str]) -> str:
    """In words: a claim that a control earns as well is no evidence for anything."""
    if entry.summary.n == 0:
        return "no scores"
    if entry.control:
        return "control: passes" if _below(entry.summary.wilcoxon) else "control: does not pass"
    if not _below(p):
        return f"not {question.claim}"
    if passed:
        return f"no evidence ({' and '.join(passed)} {'passes' if len(passed) == 1 else 'pass'} too)"
    return question.claim


def _twins(store: Store, run: int, entries: Sequence[_Entry]) -> dict[int, int]:
    """Methods whose maps rank every pixel as another's do, by id, to that other; controls come first."""
    rows = store.query(SIGNATURES, run=run)
    table = rows.pivot(index=["role", "image_id"], columns="method_id", values="signature")
    order = [entry.id for entry in sorted(entries, key=lambda entry: not entry.control) if entry.id in table]
    signatures = {str(id): table[id].to_numpy(dtype=float) for id in order}
    return {int(name): int(twin) for name, twin in alike(signatures).items()}


def _remarks(
    about: Mapping[str, Any], parameters: Mapping[str, Any], main: pd.DataFrame, lines: Sequence[Line], family: int
) -> list[str]:
    drawn, threshold = about["drawn"], parameters["threshold"]
    done = int(main.groupby("method_id")["image_id"].nunique().min()) if len(main) else 0
    kept = "correctly classified ones only" if parameters["correct_only"] else "right or wrong"
    twins = [f"{line.method} is {line.same_as}" for line in lines if line.same_as]
    source = f"{about['dataset']} (seed {about['seed']})"
    excluded = max((line.excluded for line in lines), default=0)
    left = f"; {excluded} others are excluded" if excluded else ""
    unfinished = f"UNFINISHED: {done} of {drawn} images are scored; the same `salcheck eval` goes on with the rest."
    return [
        *([unfinished] if done < drawn else []),
        f"{drawn} images drawn from {source}, {kept}{left}; reference: {about['reference']}.",
        f"p: one-sided Wilcoxon signed-rank test that scores lie below {threshold:g}, zero_method={ZERO_METHOD}; "
        f"Holm over the distinct methods of this run ({family}), controls not counted; effect: rank-biserial; "
        f"CI: percentile bootstrap of the median, {CONFIDENCE:.0%}, {RESAMPLES} resamples.",
        "ties: images where position, not value, chose some pixels of a top set; blank: images without a score "
        "because a map has too few positive pixels.",
        *(
            [f"Same ranking of pixels in every image (proportional maps), counted once: {', '.join(twins)}."]
            if twins
            else []
        ),
        *_failures(main),
    ]


def _failures(main: pd.DataFrame) -> list[str]:
    """Why images have no score, the commonest reasons first; blank and excluded ones have their own counts."""
    failed = main[main["note"].notna() & ~main["note"].str.startswith(("blank", "excluded"), na=False)]
    images = failed.groupby("note")["image_id"].nunique().sort_values(ascending=False, kind="stable")
    more = [f"No score for {images[REASONS:].sum()} more image(s), for other reasons."] if len(images) > REASONS else []
    return [f"No score for {count} image(s): {note}" for note, count in images[:REASONS].items()] + more


def _fact_remarks(store: Store, run: int, main: pd.DataFrame, names: Mapping[int, str]) -> list[str]:
    """What methods had to decide on the way, over the maps that have a score."""
    facts = store.query(FACTS, run=run)
    scored = main[main["value"].notna()][["method_id", "image_id", "value"]].rename(columns={"value": "score"})
    facts = facts.merge(scored, on=["method_id", "image_id"])
    remarks = []
    for id, frame in facts.groupby("method_id"):
        said = [_fact_words(str(name).replace("_", " "), rows["value"]) for name, rows in frame.groupby("name")]
        remarks.append(f"{names[id]}: {'; '.join(said)}.")
        remarks += _rival_remark(names[id], frame)
    return remarks


def _fact_words(name: str, values: pd.Series) -> str:
    """What is true or false is counted; a number, whose name ends in ` =`, has a median, a range and a count."""
    if not name.endswith(" ="):
        return f"{name} in {int(values.sum())} of {len(values)} maps"
    return f"{name[:-2]} {values.median():.3g} ({values.min():.3g} to {values.max():.3g}, {len(values)} maps)"


def _rival_remark(method: str, frame: pd.DataFrame) -> list[str]:
    """CASE can only part two classes where the one is among the other's contrasts (spec: 9.5)."""
    rivals = frame[(frame["name"] == "rival_in_contrast") & (frame["role"] == "top1")]
    if rivals["value"].nunique() < 2:
        return []
    inside, outside = (rivals.loc[rivals["value"] == flag, "score"] for flag in (1.0, 0.0))
    return [
        f"{method}: median {np.median(inside):.1f} in the {len(inside)} images whose top 2 is a contrast of top 1, "
        f"{np.median(outside):.1f} in the other {len(outside)}."
    ]
