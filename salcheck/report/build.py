"""From stored scores to claims: which runs are told of, a section for each, and whether their readings agree."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from salcheck.errors import SalcheckError
from salcheck.naming.registry import unknown
from salcheck.questions import QUESTIONS
from salcheck.report.crosscheck import CrossCheck, cross_check, families
from salcheck.report.section import Line, Place, Section, make_section
from salcheck.report.verdicts import listing
from salcheck.store.results import Store

SETTINGS = ["model", "weights", "layer", "transform", "dtype", "dataset_digest", "parameters"]
CUT_ALIKE = ("model", "weights", "layer", "dtype")  # two runs in which a method's maps of an image are the same
PLACES = {"mosaic": "own cell", "scenes": "own of both objects"}  # questions that say where the maps of rq1 lie

RUNS = """
SELECT runs.id AS run, question, arch, models.name AS model, layer, weights, dtype,
       transform, datasets.name AS dataset, datasets.size AS dataset_size, datasets.digest AS dataset_digest,
       reference, runs.parameters, seed, created,
       (SELECT COUNT(*) FROM run_images WHERE run_images.run_id = runs.id) AS drawn
FROM runs JOIN models ON models.id = runs.model_id JOIN datasets ON datasets.id = runs.dataset_id
WHERE EXISTS (SELECT 1 FROM scores WHERE scores.run_id = runs.id)
ORDER BY runs.id
"""


@dataclass(frozen=True)
class Report:
    """Sections in the order of their runs, cross-checks of those asked under several readings, and what is not told."""

    sections: Sequence[Section]
    checks: Sequence[CrossCheck]
    remarks: Sequence[str]


def make_report(store: Store, question: str | None = None, run: int | None = None) -> Report:
    """The report over all questions, one question, or one run.

    Of runs that differ in nothing but seed, reference or code the newest is shown; runs without scores are not.
    Raises SalcheckError where the database holds no such run.
    """
    runs = store.query(RUNS)
    abouts = [_about(row) for row in _choose(runs, question, run).to_dict("records")]
    told_of = families(abouts)
    sections = [make_section(store, base, QUESTIONS[base["question"]]) for base, _ in told_of]
    made = {section.about["run"]: section for section in sections}
    sections = [_with_places(store, one, runs, made) if one.question.name == "rq1" else one for one in sections]
    checks = [
        cross_check(store, section, readings)
        for section, (_, readings) in zip(sections, told_of, strict=True)
        if readings
    ]
    told = {about["run"] for about in abouts}
    asked = runs if question is None else runs[runs["question"] == question.lower()]
    rest = [str(id) for id in asked["run"] if id not in told]
    left_out = f"Not shown, each with its own salcheck report --run: run {', '.join(rest)}."
    return Report(sections, checks, [left_out] if rest and run is None else [])


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
    return asked.groupby(["question", *SETTINGS], sort=False).tail(1)


def _about(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of runs, and its `subject`: the model's full name, after the short one if it has one, and its precision
    where that is not float32.
    """
    about = {str(name): value for name, value in row.items()}
    short = "" if ":" in about["arch"] or about["arch"] == about["model"] else about["arch"]
    name = f"{short} ({about['model']})" if short else about["model"]
    return {**about, "subject": name if about["dtype"] == "float32" else f"{name}, {about['dtype']}"}


def _with_places(store: Store, section: Section, runs: pd.DataFrame, made: Mapping[int, Section]) -> Section:
    """The section, and where its methods' maps lie, as far as this model was asked that: in the run of the most images,
    the newest of equals.

    A claim that holds is qualified for methods that do no better there than chance, a control or a floor.
    """
    alike = runs[(runs[list(CUT_ALIKE)] == [section.about[name] for name in CUT_ALIKE]).all(axis=1)]
    newest = alike[alike["question"].isin(list(PLACES))].sort_values("drawn", kind="stable").groupby("question").tail(1)
    places = [
        _place(made.get(row["run"]) or make_section(store, row, QUESTIONS[row["question"]]))
        for row in newest.to_dict("records")
    ]
    if not places:
        missing = (
            "Low overlap counts only where the map moves to the right object: ask `salcheck eval mosaic` (or scenes) "
            "of this model."
        )
        return dataclasses.replace(section, remarks=[*section.remarks, missing])
    words = "; ".join(
        f"{place.question} (run {place.run}): mean {place.title}, chance {place.chance:g}" for place in places
    )
    told = f"Where the same methods' maps of this model lie, asked apart: {words}."
    lines = [_qualified(section, line, places) for line in section.lines]
    return dataclasses.replace(section, places=places, lines=lines, remarks=[*section.remarks, told])


def _place(section: Section) -> Place:
    lines = {line.method: line for line in section.lines}
    grid = section.parameters.get("grid")
    chance = 1 / grid**2 if grid else 0.5
    right = [
        name
        for name, line in lines.items()
        if line.verdict.startswith(section.question.claim) and (line.summary.low or 0) > chance
    ]
    means = {name: (line.summary.mean, line.summary.low, line.summary.high) for name, line in lines.items()}
    name = section.question.name
    return Place(name, PLACES[name], section.about["run"], chance, means, frozenset(right))


def _qualified(section: Section, line: Line, places: Sequence[Place]) -> Line:
    """The line, its verdict only as good as the place of the method's maps."""
    wrong = [place.question for place in places if line.method in place.means and line.method not in place.right]
    if line.verdict != section.question.claim or not wrong:
        return line
    return dataclasses.replace(
        line, verdict=f"{line.verdict}, but not shown to be in the right place ({listing(wrong)})"
    )
