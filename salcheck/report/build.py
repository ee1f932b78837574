"""Makes the report: chooses the runs, makes a section for each, and compares the readings of one question."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from salcheck.errors import SalcheckError
from salcheck.questions import find, names
from salcheck.report.crosscheck import CrossCheck, cross_check, families
from salcheck.report.locations import located
from salcheck.report.records import Section
from salcheck.report.section import make_section
from salcheck.store.results import Store

SETTINGS = ["model", "weights", "layer", "transform", "dtype", "dataset_digest", "parameters"]

RUNS = """
SELECT runs.id AS run, question, arch, models.name AS model, layer, weights, dtype,
       transform, input, notes, datasets.name AS dataset, datasets.digest AS dataset_digest,
       reference, runs.parameters, seed, created, runs.code = '' AS migrated,
       (SELECT COUNT(*) FROM run_images WHERE run_images.run_id = runs.id) AS drawn
FROM runs JOIN models ON models.id = runs.model_id JOIN datasets ON datasets.id = runs.dataset_id
WHERE EXISTS (SELECT 1 FROM scores WHERE scores.run_id = runs.id)
ORDER BY runs.id
"""


@dataclass(frozen=True)
class Report:
    """Sections in the order of their runs, cross-checks of questions asked under several readings, and remarks."""

    sections: Sequence[Section]
    checks: Sequence[CrossCheck]
    remarks: Sequence[str]


def make_report(
    store: Store, questions: Collection[str] = (), runs: Collection[int] = (), archs: Collection[str] = ()
) -> Report:
    """The report over the runs that are of one of these questions, have one of these numbers and are of one of these
    archs (short name or model name). An empty collection means all.

    Unless runs are named: of runs that differ in nothing but seed, reference or code the newest is shown. Runs without
    scores are never shown. Raises SalcheckError for a question, run or arch that the database does not hold.
    """
    stored = store.query(RUNS)
    matching = _matching(stored, [name.lower() for name in questions], runs, archs)
    known = matching[matching["question"].isin(names())]
    chosen = known if runs else known.groupby(["question", *SETTINGS], sort=False).tail(1)
    abouts = _told_apart([_about(row) for row in chosen.to_dict("records")])
    grouped = families(abouts)
    sections = [make_section(store, base, find(base["question"])) for base, _ in grouped]
    made = {section.about["run"]: section for section in sections}
    sections = [located(store, one, stored, made) if one.question.name == "rq1" else one for one in sections]
    checks = [
        cross_check(store, section, readings)
        for section, (_, readings) in zip(sections, grouped, strict=True)
        if readings
    ]
    return Report(sections, checks, _left_out(matching, chosen))


def _matching(
    stored: pd.DataFrame, questions: Sequence[str], runs: Collection[int], archs: Collection[str]
) -> pd.DataFrame:
    """The stored runs that pass all three filters. Raises SalcheckError where there is none that can be reported."""
    _check(stored, questions, runs, archs)
    passes = pd.Series(True, index=stored.index)
    if questions:
        passes &= stored["question"].isin(questions)
    if runs:
        passes &= stored["run"].isin(runs)
    if archs:
        passes &= stored["arch"].isin(archs) | stored["model"].isin(archs)
    if not stored.loc[passes, "question"].isin(names()).any():
        raise SalcheckError(_nothing(questions, runs, archs))
    return stored[passes]


def _nothing(questions: Sequence[str], runs: Collection[int], archs: Collection[str]) -> str:
    """One line: which filters no run passes, and what to do."""
    named = {"question": questions, "run": runs, "arch": archs}
    words = " and ".join(f"{kind} {', '.join(map(str, given))}" for kind, given in named.items() if given)
    if runs:
        return f"no run is of {words} at once: leave out one of these"
    first = " ".join(["salcheck eval", *(questions[:1] or ["rq1"]), *(f"--arch {arch}" for arch in list(archs)[:1])])
    return f"no scores yet{f' for {words}' if words else ''}: run `{first}` first"


def _check(stored: pd.DataFrame, questions: Collection[str], runs: Collection[int], archs: Collection[str]) -> None:
    """Raises SalcheckError for the first name or number that does not exist."""
    for question in [*questions, *stored.loc[stored["run"].isin(runs), "question"]]:
        find(question)
    there = {"run": list(stored["run"]), "arch": list(dict.fromkeys([*stored["arch"], *stored["model"]]))}
    for kind, given in {"run": runs, "arch": archs}.items():
        for one in given:
            if one not in there[kind]:
                known = ", ".join(map(str, there[kind])) or "none"
                raise SalcheckError(f"no {kind} {one} in this database: there is {known}")


def _left_out(matching: pd.DataFrame, chosen: pd.DataFrame) -> list[str]:
    """Remarks on older runs with the same settings, and on runs of questions from outside that are not here."""
    here = matching["question"].isin(names())
    older = [str(run) for run in matching.loc[here, "run"] if run not in set(chosen["run"])]
    strange = [str(run) for run in matching.loc[~here, "run"]]
    return [
        *([f"Not shown, each with its own salcheck report --run: run {', '.join(older)}."] if older else []),
        *([f"Not shown, of a question that needs its --plugin FILE: run {', '.join(strange)}."] if strange else []),
    ]


def _told_apart(abouts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs with a piece of the digest of their weights in the subject, where others have the same subject and other
    weights: two models lay under one path, one after the other.
    """
    weights: dict[str, set[str]] = {}
    for about in abouts:
        weights.setdefault(about["subject"], set()).add(about["weights"])
    return [
        {**about, "subject": f"{about['subject']}, weights {about['weights'][:8]}"}
        if len(weights[about["subject"]]) > 1
        else about
        for about in abouts
    ]


def _about(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of runs, and its `subject`: the model's full name, after the short one if it has one, and its precision
    where that is not float32.
    """
    about = {str(name): value for name, value in row.items()}
    short = "" if ":" in about["arch"] or about["arch"] == about["model"] else about["arch"]
    name = f"{short} ({about['model']})" if short else about["model"]
    return {**about, "subject": name if about["dtype"] == "float32" else f"{name}, {about['dtype']}"}
