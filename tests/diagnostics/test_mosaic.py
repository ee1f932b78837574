"""Mosaics: planted maps, chance, which photographs are taken, and the scores through the engine's truth."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
import torch

from salcheck.datasets import Region, scenes
from salcheck.diagnostics import mosaic
from salcheck.diagnostics.mosaic import prepare, score
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.questions import QUESTIONS, Role
from salcheck.runs.asking import parse_question
from tests.diagnostics.marked import marked
from tests.nets import make_images, make_net, make_view

SIDE = 24
NET = make_net("test_resnet", classes=12)

NOWHERE = Path("/dev/null")  # nothing can be kept there


def cells(grid, labels):
    step = SIDE / grid
    return [
        Region(u, box=(i % grid * step, i // grid * step, (i % grid + 1) * step, (i // grid + 1) * step))
        for i, u in enumerate(labels)
    ]


def asked(maps, grid=2, labels=None):
    B, M = maps.shape[:2]
    labels = list(range(M)) if labels is None else labels
    view = make_view(NET, make_images(B, SIDE))
    classes = torch.tensor([labels] * B)
    truth = marked([cells(grid, labels)] * B, (SIDE, SIDE))
    return view, score(view, classes, maps, truth=truth, grid=grid)


@pytest.mark.parametrize("grid", [2, 3])
def test_perfect_maps_swapped_maps_and_one_map_for_all(grid):
    M, step = grid**2, SIDE // grid
    maps = torch.zeros(3, M, SIDE, SIDE)
    for i in range(M):
        y, x = i // grid * step, i % grid * step
        maps[0, i, y : y + step, x : x + step] = 1
    maps[1] = maps[0].roll(1, 0)
    maps[2, :] = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    _, found = asked(maps, grid, [11 - i for i in range(M)])
    for name in ("own", "pointing", "most"):
        assert found.values[name].tolist() == pytest.approx([1, 0, 1 / M], abs=1e-6), name
    assert found.values["chance"].tolist() == pytest.approx([1 / M] * 3)


@pytest.mark.oracle
def test_shares_by_hand():
    maps = torch.zeros(1, 4, SIDE, SIDE)
    maps[0, 0, 0, 0], maps[0, 0, 0, 12], maps[0, 0, 12, 0] = 3, 4, 1  # 3/8 of it in its cell, 4/8 in the second
    maps[0, 1, 0, 12], maps[0, 1, 0, 0] = 1, -5
    maps[0, 2, 12, 0], maps[0, 2, 23, 23], maps[0, 2, 23, 22] = 5, 3, 3  # the maximum here, more mass there
    maps[0, 3, 0, 0] = 1
    _, found = asked(maps)
    assert found.values["own"].item() == pytest.approx((3 / 8 + 1 + 5 / 11 + 0) / 4)
    assert found.values["pointing"].item() == pytest.approx(2 / 4)
    assert found.values["most"].item() == pytest.approx(1 / 4)


@pytest.mark.parametrize("grid", [2, 3])
def test_noise_has_one_cells_share_on_average(grid):
    maps = torch.rand(200, grid**2, 6, 6, generator=torch.Generator().manual_seed(1))
    _, found = asked(maps, grid)
    assert found.values["own"].mean().item() == pytest.approx(1 / grid**2, abs=0.005)
    assert found.values["most"].mean().item() == pytest.approx(1 / grid**2, abs=0.04)
    pixels = torch.rand(200, grid**2, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    _, found = asked(pixels, grid)
    assert found.values["pointing"].mean().item() == pytest.approx(1 / grid**2, abs=0.03)


def test_classes_are_seen_where_they_are_among_as_many_of_the_likeliest():
    maps = torch.rand(5, 4, 3, 3)
    likeliest = NET(make_images(1, SIDE))[0].argsort(descending=True).tolist()
    labels = [likeliest[place] for place in (11, 3, 4, 0)]  # the fourth counts, the fifth does not
    view, found = asked(maps, labels=labels)
    for b, logits in enumerate(view.logits):
        top = set(logits.argsort(descending=True)[:4].tolist())
        assert found.values["seen"][b].item() == len(top & set(labels)) / 4
    assert found.values["seen"][0] == 0.5


def test_an_image_with_one_blank_map_has_no_score():
    maps = torch.rand(3, 4, 3, 3)
    maps[1, 2] = 0
    _, found = asked(maps)
    assert found.notes == [None, Note(Kind.BLANK, "no positive value"), None]
    assert all(values.isnan().tolist() == [False, True, False] for values in found.values.values())


@pytest.fixture(scope="module")
def drawn(scenes_model):
    """Mosaics of scenes, with what was shown to the model."""
    dataset = scenes.open_dataset(None, scenes_model.labels, 0)
    dataset = dataclasses.replace(dataset, items=dataset.items[:60])
    shown = []
    found = make(dataset, scenes_model, 12, progress=lambda done, total: shown.append((done, total)))
    return dataset, found, shown


def make(dataset, model, n, seed=0, progress=lambda done, total: None, grid=2, confidence=0.5, cache=NOWHERE):
    return prepare(dataset, model, n, seed, 8, cache, progress, grid=grid, confidence=confidence)


def test_what_the_model_is_sure_of_is_asked_once(scenes_model, drawn, tmp_path):
    dataset, found, _ = drawn
    shown = []

    def again():
        made = make(dataset, scenes_model, 12, progress=lambda done, total: shown.append(done), cache=tmp_path)
        assert made.digest == found.digest
        return len(shown)

    first = again()
    assert first > 0
    assert again() == first
    (file,) = (tmp_path / "mosaics").iterdir()
    for damaged in ("[[", '[["strange", 1]]', "{}"):
        file.write_text(damaged)
        before = len(shown)
        assert again() > before


def parts(item):
    return item.key.split(" + ")


def test_mosaics_are_of_photographs_that_are_classified_surely_and_share_no_class(scenes_model, drawn):
    dataset, found, shown = drawn
    items = {item.key: item for item in dataset.items}
    keys = [key for item in found.items for key in parts(item)]
    assert len(keys) == len(set(keys)) == 4 * len(found)  # no photograph in two of them
    assert 8 <= len(found) <= 12
    for item in found.items:
        assert len(set(item.labels)) == 4
        for key, u in zip(parts(item), item.labels, strict=True):
            logits = scenes_model.logits(scenes_model.batch([scenes_model.transform(dataset.read(items[key]))]))
            probability, top = logits.softmax(-1)[0].max(-1)
            assert int(top) == u
            assert probability >= 0.5
            assert u in items[key].labels
        everything = [u for key in parts(item) for u in items[key].labels]
        assert len(everything) == len(set(everything)) == 8  # no scene shows a class of another
    assert shown[-1][1] == 60
    assert shown[-1][0] <= 60


def test_photographs_that_are_classified_wrongly_or_not_surely_are_left_out(scenes_model):
    dataset = scenes.open_dataset(None, scenes_model.labels, 0)
    images = scenes_model.batch([scenes_model.transform(dataset.read(item)) for item in dataset.items[:45]])
    probability, top = scenes_model.logits(images).softmax(-1).max(-1)
    limit = float(probability.sort().values[14:16].mean())  # a third is below
    labels = [((u + (i % 3 == 0)) % 10,) for i, u in enumerate(top.tolist())]  # a third is wrong
    items = [dataclasses.replace(item, labels=one) for item, one in zip(dataset.items[:45], labels, strict=True)]
    sure = {item.key for i, item in enumerate(items) if i % 3 and probability[i] > limit}
    found = make(dataclasses.replace(dataset, items=items), scenes_model, 60, confidence=limit)
    assert 10 < len(sure) < 30
    used = {key for item in found.items for key in parts(item)}
    assert used <= sure and len(used) > len(sure) - 8  # some are left over that share a class with all others


def test_no_more_photographs_are_shown_to_the_model_than_it_takes(scenes_model):
    dataset, done = scenes.open_dataset(None, scenes_model.labels, 0), []
    make(dataset, scenes_model, 2, progress=lambda now, total: done.append(now), confidence=0.0)
    assert done[-1] <= 24  # of 2000


def test_the_seed_draws_them_and_nothing_else(scenes_model, drawn):
    dataset, found, _ = drawn
    keys = [item.key for item in found.items]
    assert [item.key for item in make(dataset, scenes_model, 12).items] == keys
    other = [item.key for item in make(dataset, scenes_model, 12, seed=1).items]
    assert set(other) != set(keys)
    uses = Counter(key for item in found.items for key in parts(item))
    assert set(uses.values()) == {1}
    turned = dataclasses.replace(dataset, items=dataset.items[::-1])
    assert [item.key for item in make(turned, scenes_model, 12).items] == keys
    places = [{item.labels.index(u) for item in found.items if u in item.labels} for u in range(10)]
    assert any(len(one) > 1 for one in places)  # no class has its own cell


def test_too_few_photographs_are_one_line(scenes_model):
    dataset = scenes.open_dataset(None, scenes_model.labels, 0)
    few = dataclasses.replace(dataset, items=dataset.items[:3])
    with pytest.raises(SalcheckError, match="4 photographs of as many classes, and of the 3 there are only"):
        make(few, scenes_model, 2, confidence=0.0)
    bare = dataclasses.replace(dataset, items=[dataclasses.replace(item, labels=()) for item in dataset.items[:9]])
    with pytest.raises(SalcheckError, match="photographs with known classes: give class folders"):
        make(bare, scenes_model, 2)


def test_photographs_that_cannot_be_read_are_passed_over(scenes_model):
    dataset = scenes.open_dataset(None, scenes_model.labels, 0)
    broken = {item.key for item in dataset.items[:60:3]}

    def read(item):
        if item.key in broken:
            raise SalcheckError("damaged")
        return scenes.read(item)

    found = make(dataclasses.replace(dataset, items=dataset.items[:60], read=read), scenes_model, 5, confidence=0.0)
    assert len(found) >= 3
    assert not {key for item in found.items for key in parts(item)} & broken


def test_fewer_mosaics_than_asked_for_where_there_are_no_more(scenes_model):
    """Nine scenes, few of which share no class."""
    dataset = scenes.open_dataset(None, scenes_model.labels, 0)
    found = make(dataclasses.replace(dataset, items=dataset.items[:9]), scenes_model, 500, confidence=0.0)
    assert 0 < len(found) < 500
    assert len({item.key for item in found.items}) == len(found)


def test_roles_follow_the_grid_and_metrics_the_table():
    labels = tuple(Role("label", place) for place in range(1, 10))
    assert parse_question("mosaic").roles == QUESTIONS["mosaic"].roles == labels[:4]
    assert parse_question("mosaic:grid=3").roles == labels
    assert mosaic.roles(grid=2) == QUESTIONS["mosaic"].roles
    assert set(asked(torch.rand(1, 4, 3, 3))[1].values) == set(QUESTIONS["mosaic"].metrics)


@pytest.mark.parametrize(
    ("N", "grid", "cells"), [(2, 2, 2), (3, 2, 2), (4, 2, 4), (1000, 2, 4), (3, 3, 3), (5, 3, 3), (6, 3, 6), (9, 3, 9)]
)
def test_few_classes_fill_fewer_rows(N, grid, cells):
    assert mosaic.roles_for(N, grid=grid, confidence=0.5) == mosaic.roles(grid=3)[:cells]


@pytest.mark.parametrize(("N", "grid", "says"), [(2, 3, "take grid=2"), (1, 2, "two classes or more"), (0, 3, "two")])
def test_a_model_that_fills_no_row_is_one_line_that_can_be_followed(N, grid, says):
    with pytest.raises(SalcheckError, match=says):
        mosaic.roles_for(N, grid=grid)


@pytest.mark.parametrize("M", [2, 3])
def test_one_row_of_cells_has_one_map_for_all_at_chance(M):
    maps = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).expand(-1, M, -1, -1).clone()
    for i in range(M):
        maps[1, i] = 0
        maps[1, i, :, i * SIDE // M : (i + 1) * SIDE // M] = 1
    columns = [Region(i, box=(i * SIDE / M, 0, (i + 1) * SIDE / M, SIDE)) for i in range(M)]
    view, classes = make_view(NET, make_images(2, SIDE)), torch.tensor([list(range(M))] * 2)
    found = score(view, classes, maps, truth=marked([columns] * 2, (SIDE, SIDE)), grid=M)
    assert found.values["own"].tolist() == pytest.approx([1 / M, 1])
    assert found.values["chance"].tolist() == pytest.approx([1 / M] * 2)


@pytest.mark.parametrize("typed", ["grid=4", "grid=1", "confidence=1", "confidence=-0.5"])
def test_what_does_not_fit_is_one_line(typed):
    with pytest.raises(SalcheckError, match=typed):
        parse_question(f"mosaic:{typed}")


def test_a_mosaic_does_not_depend_on_how_many_are_asked_for_or_on_the_batch(scenes_model, drawn):
    dataset, found, _ = drawn
    few = make(dataset, scenes_model, 3)
    assert [item.key for item in few.items] == [item.key for item in found.items[:3]]
    assert few.digest == found.digest  # so that a larger draw goes on with the same run
    other = prepare(dataset, scenes_model, 12, 0, 5, NOWHERE, lambda *_: None, grid=2, confidence=0.5)
    assert [item.key for item in other.items] == [item.key for item in found.items]
    assert make(dataset, scenes_model, 12, seed=1).digest != found.digest
    assert make(dataset, scenes_model, 12, confidence=0.4).digest != found.digest
    other_model = dataclasses.replace(scenes_model, weights="other")
    assert make(dataset, other_model, 12).digest != found.digest  # what it is sure of is other photographs
