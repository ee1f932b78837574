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

RUNS = """
SELECT runs.id AS run, question, arch, models.name AS model, layer, weights, models.device, dtype,
       transform, datasets.name AS dataset, datasets.size AS dataset_size, datasets.digest AS dataset_digest,
       reference, runs.parameters, seed, batch_size, versions, command, created,
       (SELECT COUNT(*) FROM run_images WHERE run_images.run_id = runs.id) AS drawn
FROM runs JOIN models ON models.id = runs.model_id JOIN datasets ON datasets.id = runs.dataset_id
ORDER BY runs.id
"""

SCORES = """
SELECT methods.id AS method_id, methods.spec AS method, methods.control, scores.metric, scores.image_id, value, note
FROM scores JOIN methods ON methods.id = scores.method_id
WHERE scores.run_id = :run
ORDER BY methods.id, scores.metric, scores.image_id
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
    """The report over all questions, one question, or one run; of equal runs on one model and dataset the newest.

    Raises SalcheckError where the database holds no such run.
    """
    runs = store.query(RUNS)
    chosen = _choose(runs, question, run)
    older = len(runs) - len(chosen)
    left_out = (
        f"{older} other run(s) in this database are not shown; salcheck report --run ID shows one (1 to {len(runs)})."
    )
    sections = [_section(store, _about(row)) for row in chosen.to_dict("records")]
    return Report(sections, [left_out] if older and run is None else [])


def _choose(runs: pd.DataFrame, question: str | None, run: int | None) -> pd.DataFrame:
    if question is not None and question.lower() not in QUESTIONS:
        raise SalcheckError(unknown("question", question, QUESTIONS))
    if run is not None:
        chosen = runs[runs["run"] == run]
        if chosen.empty:
            there = ", ".join(str(one) for one in runs["run"]) or "none"
            raise SalcheckError(f"no run {run} in this database: there is {there}")
        return chosen
    asked = runs if question is None else runs[runs["question"] == question.lower()]
    if asked.empty:
        raise SalcheckError(f"no scores yet{f' for {question}' if question else ''}: run `salcheck eval rq1` first")
    return asked.groupby(["question", "model", "weights", "layer", "dataset"], sort=False).tail(1)


def _about(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of runs, and its `subject`: the model's full name, after the short one if it has one."""
    about = {str(name): value for name, value in row.items()}
    short = "" if ":" in about["arch"] or about["arch"] == about["model"] else about["arch"]
    return {**about, "subject": f"{short} ({about['model']})" if short else about["model"]}


def _section(store: Store, about: dict[str, Any]) -> Section:
    question = QUESTIONS[about["question"]]
    parameters = json.loads(about["parameters"])
    scores = store.query(SCORES, run=about["run"])
    main = scores[scores["metric"] == question.metric]
    tied = scores[(scores["metric"] == "tied") & (scores["value"] > 0)]
    twins = _twins(store, about["run"], main)
    entries = [
        _entry(int(id), frame, parameters["threshold"], about["seed"]) for id, frame in main.groupby("method_id")
    ]
    names = {entry.id: entry.name for entry in entries}
    family = [entry for entry in entries if not entry.control and entry.id not in twins]
    adjusted = dict(zip([e.id for e in family], holm([e.summary.wilcoxon for e in family]), strict=True))
    adjusted |= {id: adjusted[twin] for id, twin in twins.items() if twin in adjusted and not _control(entries, id)}
    passed = [entry.name for entry in entries if entry.control and _below(entry.summary.wilcoxon)]
    lines = [
        Line(
            question=about["question"],
            run=about["run"],
            arch=about["arch"],
            method=entry.name,
            control=entry.control,
            summary=entry.summary,
            holm=adjusted.get(entry.id),
            blank=entry.notes.get("blank", 0),
            tied=int((tied["method_id"] == entry.id).sum()),
            excluded=entry.notes.get("excluded", 0),
            failed=sum(count for kind, count in entry.notes.items() if kind not in ("blank", "excluded")),
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


def _entry(id: int, frame: pd.DataFrame, threshold: float, seed: int) -> _Entry:
    kinds = frame["note"].dropna().str.split(":").str[0].value_counts().to_dict()
    values = frame["value"].dropna().to_numpy(dtype=float)
    name, control = frame["method"].iloc[0], bool(frame["control"].iloc[0])
    return _Entry(id, name, control, summarise(values, threshold, seed), kinds)


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


def _twins(store: Store, run: int, main: pd.DataFrame) -> dict[int, int]:
    """Methods whose maps rank every pixel as another's do, by id, to that other."""
    scored = set(main["method_id"])
    rows = store.query(SIGNATURES, run=run)
    table = rows[rows["method_id"].isin(scored)].pivot(
        index=["role", "image_id"], columns="method_id", values="signature"
    )
    signatures = {str(id): table[id].to_numpy(dtype=float) for id in table.columns}
    return {int(name): int(twin) for name, twin in alike(signatures).items()}


def _remarks(
    about: Mapping[str, Any], parameters: Mapping[str, Any], main: pd.DataFrame, lines: Sequence[Line], family: int
) -> list[str]:
    drawn, threshold = about["drawn"], parameters["threshold"]
    done = int(main.groupby("method_id")["image_id"].nunique().min()) if len(main) else 0
    kept = "correctly classified ones only" if parameters["correct_only"] else "right or wrong"
    twins = [f"{line.method} is {line.same_as}" for line in lines if line.same_as]
    failed = main[main["note"].notna() & ~main["note"].str.startswith(("blank", "excluded"), na=False)]
    unfinished = f"UNFINISHED: {done} of {drawn} images are scored; the same `salcheck eval` goes on with the rest."
    return [
        *([unfinished] if done < drawn else []),
        f"{drawn} images drawn from {about['dataset']} (seed {about['seed']}), {kept}; reference: {about['reference']}.",
        f"p: one-sided Wilcoxon signed-rank test that scores lie below {threshold:g}, zero_method={ZERO_METHOD}; "
        f"Holm over the {family} distinct methods of this run, controls not counted; effect: rank-biserial; "
        f"CI: percentile bootstrap of the median, {CONFIDENCE:.0%}, {RESAMPLES} resamples.",
        "ties: images where position, not value, chose some pixels of a top set; blank: images without a score "
        "because a map has too few positive pixels.",
        *([f"Same ranking of pixels in every image, counted once: {', '.join(twins)}."] if twins else []),
        *(f"No score for {rows['image_id'].nunique()} image(s): {note}" for note, rows in failed.groupby("note")),
    ]


def _fact_remarks(store: Store, run: int, main: pd.DataFrame, names: Mapping[int, str]) -> list[str]:
    """What methods had to decide on the way, over the maps that have a score."""
    facts = store.query(FACTS, run=run)
    scored = main[main["value"].notna()][["method_id", "image_id", "value"]].rename(columns={"value": "score"})
    facts = facts.merge(scored, on=["method_id", "image_id"])
    remarks = []
    for id, frame in facts.groupby("method_id"):
        counts = {name: (int(rows["value"].sum()), len(rows)) for name, rows in frame.groupby("name")}
        said = [f"{name.replace('_', ' ')} in {count} of {total} maps" for name, (count, total) in counts.items()]
        remarks.append(f"{names[id]}: {'; '.join(said)}.")
        remarks += _rival_remark(names[id], frame)
    return remarks


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
