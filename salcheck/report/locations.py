"""Where the maps of rq1 lie, as far as another question measured it on the same model.

Low overlap of two classes' maps says that the maps differ, not that either of them is in the right place.
"""

import dataclasses
from collections.abc import Mapping

import pandas as pd

from salcheck.questions import find
from salcheck.report.records import Kind, Location, Section
from salcheck.report.section import make_section
from salcheck.report.verdicts import qualified
from salcheck.store.results import Store

# Where these are the same in two runs, so are a method's maps of an image.
SAME_MAPS = ("model", "weights", "layer", "dtype", "migrated")

# The questions that can tell, and the title of their column. A choice: rq1 asks for the maps of two classes, and these
# two have images of several classes with a known place for each. `localization` knows the place of one class only.
LOCATING = {"mosaic": "own cell", "scenes": "own of both objects"}

MISSING = (
    "Low overlap counts only where the map moves to the right object: ask `salcheck eval mosaic` (or scenes) of this "
    "model."
)


def located(store: Store, section: Section, runs: pd.DataFrame, made: Mapping[int, Section]) -> Section:
    """The section of rq1, with the locations that other runs of the same model measured.

    Each locating question counts once: its run of the most images, the newest of equals. A claim that holds is
    qualified for a method that does not beat chance and every control and floor there. runs: all runs of the database.
    made: the sections that exist already, by run.
    """
    same = runs[(runs[list(SAME_MAPS)] == [section.about[name] for name in SAME_MAPS]).all(axis=1)]
    largest = (
        same[same["question"].isin(list(LOCATING))].sort_values("drawn", kind="stable").groupby("question").tail(1)
    )
    locations = [
        _location(made.get(row["run"]) or make_section(store, row, find(row["question"])))
        for row in largest.to_dict("records")
    ]
    if not locations:
        return dataclasses.replace(section, remarks=[*section.remarks, MISSING])
    words = "; ".join(f"{one.question} (run {one.run}): mean {one.title}, chance {one.chance:g}" for one in locations)
    remark = f"Where the same methods' maps of this model lie, measured in other runs: {words}."
    lines = []
    for line in section.lines:
        wrong = [one.question for one in locations if line.method in one.means and line.method not in one.right]
        lines.append(dataclasses.replace(line, verdict=qualified(line.verdict, wrong)))
    return dataclasses.replace(section, locations=locations, lines=lines, remarks=[*section.remarks, remark])


def _location(section: Section) -> Location:
    grid = section.parameters.get("grid")
    chance = 1 / grid**2 if grid else 0.5
    right = {
        line.method for line in section.lines if line.verdict.kind is Kind.HOLDS and (line.summary.low or 0) > chance
    }
    means = {line.method: (line.summary.mean, line.summary.low, line.summary.high) for line in section.lines}
    name = section.question.name
    return Location(name, LOCATING[name], section.about["run"], chance, means, frozenset(right))
