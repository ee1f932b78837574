import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F

from salcheck.diagnostics import faithfulness_correlation
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.perturb.answers import Memory
from salcheck.runs.asking import parse_question
from tests.diagnostics.memories import with_memory
from tests.diagnostics.test_infidelity import CLASSES, Linear, exact, linear_view, random_maps, recorded, resnet_view
from tests.nets import make_view

score = with_memory(faithfulness_correlation.score)


def correlation(view, classes, maps, **parameters):
    return score(view, classes, maps, **parameters).values["correlation"]


@pytest.mark.oracle
@pytest.mark.parametrize("output", ["logit", "softmax"])
def test_equals_scipy_in_a_plain_loop(output):
    view, classes, maps = resnet_view(), torch.tensor([[2], [5]]), random_maps(2, 1, 5, 7)
    fed = recorded(view)
    found = correlation(view, classes, maps, samples=12, cells=6, share=0.3, output=output)
    changed = torch.cat(fed)
    assert len(changed) == 24
    pixels = F.interpolate(maps, (40, 56), mode="bilinear").double()
    answer = (lambda x: x.double().softmax(-1)) if output == "softmax" else (lambda x: x.double())
    for b in range(2):
        before = answer(view.net(view.images[b : b + 1]))[0, classes[b, 0]]
        sums, falls = [], []
        for image in changed[12 * b : 12 * b + 12]:
            removed = (image == 0).all(dim=0)
            sums.append(float(pixels[b, 0][removed].sum()))
            falls.append(float(before - answer(view.net(image[None]))[0, classes[b, 0]]))
        assert found[b].item() == pytest.approx(scipy.stats.pearsonr(sums, falls).statistic, abs=1e-4)


@pytest.mark.oracle
def test_by_hand_on_4x4(monkeypatch):
    """The map says 1, 2, 3 of three pixels, and the score falls by 1, 3, 2: correlation 1 / 2."""
    weights, maps = torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
    weights[0, 0, 0, :3] = torch.tensor([1.0, 3.0, 2.0])
    maps[0, 0, 0, :3] = torch.tensor([1.0, 2.0, 3.0])
    view = make_view(Linear(weights), torch.ones(1, 3, 4, 4))
    masks = F.one_hot(torch.arange(3), 16).view(3, 4, 4).bool()
    monkeypatch.setattr(faithfulness_correlation, "_subsets", lambda *_: lambda jobs: masks[jobs])
    classes = torch.tensor([[0]])
    assert correlation(view, classes, maps, samples=3, cells=4).item() == pytest.approx(0.5)
    assert correlation(view, classes, 3 - maps, samples=3, cells=4).item() == pytest.approx(-0.5)


@pytest.mark.parametrize(("fill", "behind"), [("mean", 0.0), ("zero", 0.0), ("grey", 0.5)])
def test_a_linear_models_exact_attribution_is_right_and_its_negative_wrong(fill, behind):
    view = linear_view()
    maps = exact(view, CLASSES, behind)
    right, wrong, other = (
        correlation(view, *pair, fill=fill) for pair in ((CLASSES, maps), (CLASSES, -maps), (1 - CLASSES, maps))
    )
    torch.testing.assert_close(right, torch.ones(3).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(wrong, -torch.ones(3).double(), rtol=0, atol=1e-4)
    assert (other < 0.7).all()


def test_the_maps_unit_and_offset_do_not_matter():
    view, maps = linear_view(), random_maps(3, 1, 24, 32)
    # cells of unequal size: with an offset, a subset's sum would tell its area
    plain, moved, scaled = (correlation(view, CLASSES, m, cells=8) for m in (maps, maps + 2, 1e-6 * maps))
    torch.testing.assert_close(moved, plain, rtol=0, atol=1e-4)
    torch.testing.assert_close(scaled, plain, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("height", "width", "cells"), [(24, 32, 5), (24, 32, 24), (20, 12, 12)])
def test_a_subset_is_so_many_whole_cells(height, width, cells):
    view = linear_view(count=1, height=height, width=width)
    correlation(view, CLASSES[:1], random_maps(1, 1, 4, 4), cells=cells, share=0.3, samples=30)
    removed = (torch.cat(view.net.fed) == 0).all(dim=1).numpy()
    cell = np.array([[r * cells // height * cells + c * cells // width for c in range(width)] for r in range(height)])
    areas = np.bincount(cell.flatten())
    for mask in removed:
        within = np.bincount(cell[mask], minlength=cells**2)
        assert set(np.flatnonzero(within)) == set(np.flatnonzero(within == areas))
        assert (within > 0).sum() == round(0.3 * cells**2)


def test_all_cells_are_as_likely():
    masks = faithfulness_correlation._subsets(linear_view(count=1, height=6, width=6), 20_000, 6, 0.25)
    often = masks(torch.arange(20_000)).float().mean(0)
    assert (often - 0.25).abs().max() < 0.015


def test_undefined_where_subsets_differ_by_rounding_alone():
    view = linear_view(count=2, height=8, width=8)
    tile = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))  # each quarter holds as much as any other
    turned = torch.cat([torch.cat([tile, tile.flip(1)], 1), torch.cat([tile.mT, tile.flip(0)], 1)])
    scores = score(view, CLASSES[:2], torch.stack([turned, random_maps(8, 8)])[:, None], cells=2, share=0.25)
    assert scores.values["correlation"].isnan().tolist() == [True, False]
    assert scores.notes == [None, None]


@pytest.mark.parametrize(("slope", "undefined"), [(0, True), (1e-6, True), (1e-2, False)])
def test_undefined_where_the_score_moves_by_rounding_alone(slope, undefined):
    view = linear_view(count=2)
    head = view.net.forward_head
    view.net.forward_head = lambda features: 1000 + slope * head(features)
    assert correlation(view, CLASSES[:2], random_maps(2, 1, 6, 8)).isnan().tolist() == [undefined] * 2


def test_methods_share_all_forwards():
    view, memory = linear_view(), Memory()
    for seed in range(3):
        correlation(view, CLASSES, random_maps(3, 1, 6, 8, seed=seed), samples=20, memory=memory)
    changed = torch.cat(view.net.fed)
    assert view.net.features == 0  # the whole image drops out of a correlation
    assert len(changed) == 60 == len(changed.flatten(1).unique(dim=0))
    subsets = (changed == 0).all(dim=1).flatten(1)
    assert len(subsets.unique(dim=0)) == 60  # images do not share them


def test_a_batch_equals_single_images():
    view, maps = linear_view(), random_maps(3, 1, 6, 8)
    together = correlation(view, CLASSES, maps)
    for b in range(3):
        alone = make_view(view.net, view.images[b : b + 1], seeds=[b])
        found = correlation(alone, CLASSES[b : b + 1], maps[b : b + 1])
        torch.testing.assert_close(found, together[b : b + 1], rtol=0, atol=1e-5)


def test_out_of_memory_changes_nothing():
    maps = random_maps(3, 1, 6, 8)
    plain, tight = (correlation(linear_view(most=most), CLASSES, maps, samples=25) for most in (8, 2))
    torch.testing.assert_close(tight, plain, rtol=0, atol=1e-5)


def test_blank_maps_have_no_score_and_leave_the_others_theirs():
    view = linear_view(count=4)
    classes, maps = torch.tensor([[1], [0], [1], [0]]), random_maps(4, 1, 6, 8)
    whole = correlation(view, classes, maps)
    assert whole.isfinite().all()
    maps[0, 0, 2, 2] = torch.nan
    maps[1] = 1
    maps[2] = -maps[2].abs()
    scores = score(view, classes, maps)
    assert scores.notes == [
        Note(Kind.BLANK, "not finite"),
        Note(Kind.BLANK, "constant"),
        Note(Kind.BLANK, "no positive value"),
        None,
    ]
    assert scores.values["correlation"].isnan().tolist() == [True, True, True, False]
    assert scores.values["correlation"][3] == whole[3]


def test_the_command_line_reads_and_refuses_parameters():
    question = parse_question("faithfulness-correlation:samples=9,cells=4,share=0.5,fill=blur,output=softmax")
    assert question.parameters["cells"] == 4
    wrong = {"samples=2": "3 or more", "cells=1": "2 or more", "share=0": "none or all", "cells=3,share=0.99": "none"}
    for given, words in wrong.items():
        with pytest.raises(SalcheckError, match=words):
            parse_question(f"faithfulness-correlation:{given}")
    with pytest.raises(SalcheckError, match="24 x 32, so take 24"):
        correlation(linear_view(), CLASSES, random_maps(3, 1, 6, 8), cells=25)
