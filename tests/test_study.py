"""Every number as it was: a small study asked again, and compared with what an earlier version stored."""

import lzma
import platform
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from salcheck.cli import make_app
from salcheck.questions import QUESTIONS as KNOWN
from salcheck.store.results import Store

ASSET = Path(__file__).parent / "assets" / "study_0001.db.xz"
MADE_WITH = ("AuthenticAMD 25 1", "2.14.1+cu130")  # processor and torch: with others the last bits may differ
QUESTIONS = (
    "rq1 sensitivity stability sanity:parts=2 layers channels completeness rq2 road deletion insertion quality "
    "averagedrop infidelity faithfulness-correlation contrastive localization"
)
OWN = {"scenes": "mosaic scenes intraclass", "puppets": "counterfactual"}
METHODS = "case,gradcam,layercam,gradient,diffcam"
NAMES = ["question", "method", "image", "metric", "level"]
SCORES = """
SELECT runs.question, datasets.name AS dataset, methods.spec AS method, images.key AS image, metric, level, value
FROM scores JOIN runs ON runs.id = scores.run_id JOIN datasets ON datasets.id = runs.dataset_id
JOIN methods ON methods.id = scores.method_id JOIN images ON images.id = scores.image_id
"""
# What changed on purpose since: a pair is of an image and the next one of the run's order, no longer of the batch, and
# mosaics are drawn such that their number and the batch decide none of them.
CHANGED = {"sanity": ("_pair", "excess", "excess_last"), "mosaic": ("",)}
NEARLY_ALL = 0.98  # of the scores lie within a thousandth of their range on another machine; sets of pixels may flip


def processor() -> str:
    """Vendor, family and model of the processor, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return " ".join(facts.get(name, "") for name in ("vendor_id", "cpu family", "model"))


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    file = tmp_path_factory.mktemp("study") / "before.db"
    file.write_bytes(lzma.decompress(ASSET.read_bytes()))
    with sqlite3.connect(file) as connection:
        return as_before(pd.read_sql(SCORES, connection))


def as_before(scores):
    changed = [
        question in CHANGED and metric.endswith(CHANGED[question])
        for question, metric in zip(scores["question"], scores["metric"], strict=True)
    ]
    return scores[~np.array(changed)]


@pytest.mark.long
@pytest.mark.timeout(1500)  # minutes on two cores, more beside other work
@pytest.mark.parametrize("name", ["scenes", "puppets"])
def test_every_score_is_what_it_was(before, name, tmp_path):
    call = f"eval {QUESTIONS} {OWN[name]} --arch {name} --dataset {name} -n 6 --batch-size 4 -m {METHODS} --db new.db"
    result = CliRunner().invoke(make_app(), call.split())
    assert result.exit_code == 0, result.output
    with Store("new.db") as store:
        now = as_before(store.query(SCORES))
    of = before["dataset"].str.endswith(name)
    both = before[of].merge(now, on=NAMES, how="outer", suffixes=("_before", "_now"), indicator=True)
    assert set(both["_merge"]) == {"both"}, both[both["_merge"] != "both"].head(20).to_string()
    old, new = both["value_before"], both["value_now"]
    same = (old == new) | (old.isna() & new.isna())
    if (processor(), torch.__version__) == MADE_WITH:
        assert same.all(), both[~same].head(20).to_string()
    else:
        spread = both.groupby(["question", "metric"])["value_before"].transform(lambda v: v.max() - v.min())
        assert (same | ((old - new).abs() <= 1e-3 * spread + 1e-6)).mean() >= NEARLY_ALL


def test_the_study_covers_every_question(before):
    assert set(before["question"]) == set(KNOWN) - {"mosaic"}
    assert set(before["dataset"]) == {"puppets", "scenes"}
