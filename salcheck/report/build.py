"""From stored scores to claims: which runs are told of, a section for each, and whether their readings agree."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from salcheck.errors import SalcheckError
from salcheck.questions import find, names
from salcheck.report.crosscheck import CrossCheck, cross_check, families
from salcheck.report.section import Line, Place, Section, make_section
from salcheck.report.verdicts import listing
from salcheck.store.results import Store

SETTINGS = ["model", "weights", "layer", "transform", "device", "dtype", "dataset_digest", "parameters"]
CUT_ALIKE = ("model", "weights", "layer", "dtype")  # two runs in which a method's maps of an image are the same
PLACES = {"mosaic": "own cell", "scenes": "own of both objects"}  # questions that say where the maps of rq1 lie

RUNS = """
SELECT runs.id AS run, question, arch, models.name AS model, layer, weights, models.device, dtype,
       transform, datasets.name AS dataset, datasets.size AS dataset_size, datasets.digest AS dataset_digest,
       reference, runs.parameters, seed, batch_size, versions, command, created,
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


def make_report(
    store: Store, questions: Sequence[str] = (), runs: Sequence[int] = (), archs: Sequence[str] = ()
) -> Report:
    """The report over all runs, or over those of these questions, numbers and models.

    Of runs that differ in nothing but seed, reference or code the newest is shown, but each whose number is given; runs
    without scores are not. Raises SalcheckError where the database holds no such run.
    """
    there = store.query(RUNS)
    asked = _asked(there, questions, archs)
    abouts = [_about(row) for row in _choose(asked, runs, [*questions, *archs]).to_dict("records")]
    told_of = families(abouts)
    sections = [make_section(store, base, find(base["question"])) for base, _ in told_of]
    made = {section.about["run"]: section for section in sections}
    sections = [_with_places(store, one, there, made) if one.question.name == "rq1" else one for one in sections]
    checks = [
        cross_check(store, section, readings)
        for section, (_, readings) in zip(sections, told_of, strict=True)
        if readings
    ]
    told = {about["run"] for about in abouts}
    rest = [str(id) for id in asked["run"] if id not in told]
    left_out = f"Not shown, each with its own salcheck report --run: run {', '.join(rest)}."
    return Report(sections, checks, [left_out] if rest and not runs else [])


def _asked(there: pd.DataFrame, questions: Sequence[str], archs: Sequence[str]) -> pd.DataFrame:
    """The runs of these questions and models, of all where none is named."""
    for name in questions:
        find(name)
    for name in archs:
        if name not in set(there["arch"]) | set(there["model"]):
            raise SalcheckError(f"no scores of '{name}': there are of {', '.join(there['arch'].unique()) or 'none'}")
    own = there["question"].isin([name.lower() for name in questions]) | (not questions)
    return there[own & (there["arch"].isin(archs) | there["model"].isin(archs) | (not archs))]


def _choose(asked: pd.DataFrame, runs: Sequence[int], named: Sequence[str]) -> pd.DataFrame:
    """Those with these numbers, or the newest of those that differ in nothing but seed, reference or code."""
    for run in runs:
        if run not in set(asked["run"]):
            there = ", ".join(str(one) for one in asked["run"]) or "none"
            raise SalcheckError(f"no run {run} in this database: there is {there}")
    chosen = asked[asked["run"].isin(runs)] if runs else asked[asked["question"].isin(names())]
    for name in chosen["question"]:
        find(name)
    if chosen.empty:
        words = f" for {', '.join(named)}" if named else ""
        raise SalcheckError(f"no scores yet{words}: run `salcheck eval rq1` first")
    return chosen if runs else chosen.groupby(["question", *SETTINGS], sort=False).tail(1)


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
        _place(made.get(row["run"]) or make_section(store, row, find(row["question"])))
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
