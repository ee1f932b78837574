"""Pictures of curves: the right ones, under names that the text knows, with every method in them."""

import numpy as np
import pytest
from PIL import Image

from salcheck.report.build import make_report
from salcheck.screen import curves
from salcheck.store.results import Store
from tests.databases import add_metric, add_run


@pytest.fixture
def report(tmp_path):
    rng = np.random.default_rng(0)
    names = ("gradcam", "case:contrast=logits", "$a_b$ & <c>", "random", "center", "edges")
    scores = {name: rng.uniform(0, 1, (9, 3)).tolist() for name in names}
    with Store(str(tmp_path / "salcheck.db")) as store:
        add_run(store, scores, question="rq2", metric="drop", levels=(5.0, 25.0, 50.0))
        add_run(store, {"case": [1.0, 2.0], "random": [3.0, 4.0]})  # rq1 has no curve
        yield make_report(store)


def test_every_curve_of_several_levels_is_drawn_beside_the_text(report, tmp_path):
    names = curves.draw_pictures(report, tmp_path / "r.md")
    assert names == {(1, "drop"): "r-run1-drop.png"}
    assert Image.open(tmp_path / "r-run1-drop.png").size[0] > 500


def test_every_method_has_its_line_and_controls_are_grey(report, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(curves, "save", lambda figure, file: seen.append(figure))
    curves.draw_pictures(report, tmp_path / "r.md")
    (axis,) = seen[0].axes
    lines = {line.get_label(): line for line in axis.lines}
    drawn = {curve.method: curve for curve in report.sections[0].curves if curve.metric == "drop"}
    assert set(lines) == {f"{name} (N 9)".replace("$", "\\$") for name in drawn}
    for name, curve in drawn.items():
        line = lines[f"{name} (N 9)".replace("$", "\\$")]
        assert line.get_ydata() == pytest.approx(curve.mean)
        assert (line.get_color() == "0.45") == curve.control
    assert len(axis.collections) == len(drawn)  # a band each
    assert axis.get_xlabel() == "% removed"


def test_levels_with_names_have_them_at_their_ticks_slanted_where_they_are_long(tmp_path, monkeypatch):
    seen, values = [], np.random.default_rng(0).uniform(0, 1, (9, 3)).tolist()
    monkeypatch.setattr(curves, "save", lambda figure, file: seen.append(figure))
    named = {"short": ["a", "$b$", "c"], "long": ["blocks.10.norm1", "blocks.5.norm1", "patch_embed.proj"]}
    for place, names in enumerate(named.values()):
        with Store(str(tmp_path / f"{place}.db")) as store:
            scores = {"gradcam": values, "lafam": values, "random": values}
            add_run(store, scores, question="layers", metric="overlap", levels=(1.0, 2.0, 3.0), named=names)
            curves.draw_pictures(make_report(store), tmp_path / "r.md")
    for figure, names, slant in zip(seen, named.values(), (0, 35), strict=True):
        (axis,) = figure.axes
        assert axis.get_xticks().tolist() == [1, 2, 3]
        labels = axis.get_xticklabels()
        assert [label.get_text().replace("\\$", "$") for label in labels] == names
        assert {label.get_rotation() for label in labels} == {slant}


def test_floors_are_grey_and_no_method_is(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(curves, "save", lambda figure, file: seen.append(figure))
    names = [f"method{place}" for place in range(20)]
    with Store(str(tmp_path / "one.db")) as store:
        scores = {name: [0.1, 0.2, 0.3] for name in [*names, "lafam", "random"]}
        number = add_run(store, scores, question="localization", metric="auprc", levels=(0.0,))
        for name in scores:
            add_metric(store, number, name, "iou", [[0.1, 0.2]] * 3, (10.0, 20.0), control=name == "random")
        curves.draw_pictures(make_report(store), tmp_path / "r.md")
    colours = {line.get_label().split()[0]: line.get_color() for line in seen[0].axes[0].lines}
    assert len({colours[name] for name in names}) == 16
    assert all(max(colours[name]) - min(colours[name]) > 0.1 for name in names)
    assert (colours["lafam"], colours["random"]) == ("0.15", "0.45")
