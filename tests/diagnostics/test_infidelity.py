import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from salcheck.diagnostics import _sampled, infidelity
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.perturb.answers import Memory, clean
from salcheck.runs.asking import parse_question
from tests.diagnostics.memories import with_memory
from tests.nets import make_images, make_net, make_view

score = with_memory(infidelity.score)

CLASSES = torch.tensor([[1], [0], [1]])


class Linear(torch.nn.Module):
    """Logits that are weighted sums of the pixels, weights (N, 3, H, W); `fed` keeps the images of whole forwards.

    More than `most` images at a time do not fit; the view's own forward, by its parts, always does.
    """

    def __init__(self, weights: torch.Tensor, most: int = 10**9):
        super().__init__()
        self.weights, self.num_classes, self.most, self.fed, self.features = weights, len(weights), most, [], 0

    def forward_features(self, images):
        self.features += len(images)
        return images

    def forward_head(self, features):
        return torch.einsum("bchw,nchw->bn", features, self.weights)

    def forward(self, images):
        if len(images) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        self.fed.append(images)
        return self.forward_head(images)


def linear_view(count=3, height=24, width=32, most=10**9):
    generator = torch.Generator().manual_seed(5)
    images, weights = (torch.randn(n, 3, height, width, generator=generator) for n in (count, 2))
    return make_view(Linear(weights, most), images)


def exact(view, classes, behind=0.0):
    """What each pixel adds to the class's logit when it takes the place of `behind`: (B, 1, H, W)."""
    return (view.net.weights[classes[:, 0]] * (view.images - behind)).sum(dim=1, keepdim=True)


def recorded(view):
    """The images that the model is fed from now on, as a list of batches."""
    fed, forward = [], view.forward

    def record(images):
        fed.append(images)
        return forward(images)

    view.forward = record
    return fed


def random_maps(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def resnet_view():
    return make_view(make_net("test_resnet"), make_images(2, 56, seed=3)[:, :, 8:48])


@pytest.mark.oracle
@pytest.mark.parametrize("perturbation", ["squares", "noise"])
@pytest.mark.parametrize("scale", ["signed", "none"])
def test_equals_captum_on_the_same_changes(perturbation, scale):
    view, classes, maps = resnet_view(), torch.tensor([[2], [5]]), random_maps(2, 1, 5, 7)
    fed = recorded(view)
    found = score(view, classes, maps, perturbation=perturbation, scale=scale, samples=12, sigma=0.5).values
    changed = torch.cat(fed)
    assert len(changed) == 24
    whole = view.images.repeat_interleave(12, dim=0)
    change = (changed != whole).all(dim=1, keepdim=True).float() if perturbation == "squares" else whole - changed
    pixels = F.interpolate(maps, (40, 56), mode="bilinear")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from captum.metrics import infidelity as captum_infidelity

        # Attributions have three colours there: a third of the map for each.
        expected = captum_infidelity(
            view.net,
            lambda inputs: (change.expand_as(inputs), changed),
            view.images,
            pixels.expand(-1, 3, -1, -1) / 3,
            target=classes[:, 0],
            n_perturb_samples=12,
            normalize=scale == "signed",
        )
    np.testing.assert_allclose(found["infidelity"], expected, rtol=1e-4)


@pytest.mark.oracle
@pytest.mark.parametrize("output", ["logit", "softmax"])
def test_is_what_least_squares_leaves(output):
    view, classes, maps = resnet_view(), torch.tensor([[2], [5]]), random_maps(2, 1, 40, 56).abs()
    fed = recorded(view)
    found = score(view, classes, maps, samples=15, scale="signed", output=output).values["infidelity"]
    changed = torch.cat(fed)
    answer = (lambda x: x.softmax(-1)) if output == "softmax" else (lambda x: x)
    after, before = (answer(view.net(x).double()).numpy() for x in (changed, view.images))
    for b in range(2):
        jobs = slice(15 * b, 15 * b + 15)
        removed = (changed[jobs] == 0).all(dim=1).double().numpy()
        sums = (removed * maps[b].double().numpy()).sum((1, 2))
        falls = before[b, classes[b, 0]] - after[jobs, classes[b, 0]]
        rest = np.linalg.lstsq(sums[:, None], falls, rcond=None)[1]
        assert found[b].item() == pytest.approx(rest.item() / 15, rel=1e-4)


@pytest.mark.oracle
def test_by_hand_on_4x4(monkeypatch):
    """The score falls by 4 and by 1; the map says 4 and 3."""
    view = make_view(Linear(torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)), torch.ones(1, 3, 4, 4))
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :2, :2] = masks[1, 3, 3] = True
    monkeypatch.setattr(infidelity, "_squares", lambda *_: lambda jobs: masks[jobs])
    maps = torch.ones(1, 1, 4, 4)
    maps[..., 3, 3] = 3
    classes = torch.tensor([[0]])
    assert score(view, classes, maps, samples=2, scale="none").values["infidelity"].item() == 2
    # beta = (4 * 4 + 3 * 1) / (16 + 9) = 0.76, errors 0.96 and 1.28
    for scale in ("positive", "signed"):
        values = score(view, classes, maps, samples=2, scale=scale).values
        assert values["infidelity"].item() == pytest.approx(1.28)
        assert values["unexplained"].item() == pytest.approx(1.28 / ((4**2 + 1**2) / 2))


@pytest.mark.parametrize("scale", ["positive", "signed", "none"])
@pytest.mark.parametrize(("fill", "behind"), [("mean", 0.0), ("zero", 0.0), ("grey", 0.5)])
def test_a_linear_models_exact_attribution_has_none(scale, fill, behind):
    view = linear_view()
    values = score(view, CLASSES, exact(view, CLASSES, behind), scale=scale, fill=fill).values["infidelity"]
    assert (values < 1e-6).all()
    other = score(view, 1 - CLASSES, exact(view, CLASSES, behind), scale=scale, fill=fill).values["infidelity"]
    assert (other > 1).all()


def test_noise_on_a_linear_model_whose_colours_count_alike():
    view = linear_view()
    view.net.weights = view.net.weights[:, :1].expand(-1, 3, -1, -1)
    maps = 3 * view.net.weights[CLASSES[:, 0], :1]
    assert (score(view, CLASSES, maps, perturbation="noise", scale="none").values["infidelity"] < 1e-6).all()
    assert (score(view, CLASSES, 2 * maps, perturbation="noise", scale="none").values["infidelity"] > 1).all()


def test_noise_has_the_deviation_that_was_asked_for():
    view = linear_view(count=1)
    score(view, CLASSES[:1], random_maps(1, 1, 4, 4), perturbation="noise", sigma=0.05)
    noise = torch.cat(view.net.fed) - view.images
    assert noise.std().item() == pytest.approx(0.05, rel=0.02)
    assert abs(noise.mean().item()) < 1e-3


def test_a_map_that_says_the_opposite_foretells_nothing():
    view = linear_view()
    maps = -exact(view, CLASSES)
    change = clean(view, CLASSES).logits.double()
    fed = recorded(view)
    values = score(view, CLASSES, maps, samples=20).values
    found = values["infidelity"]
    assert (values["unexplained"] == 1).all()
    after = view.net.forward_head(torch.cat(fed)).view(3, 20, 2)
    falls = change - after.gather(2, CLASSES[:, None].expand(-1, 20, -1))[..., 0]
    torch.testing.assert_close(found, falls.square().mean(1), rtol=1e-4, atol=0)
    assert (score(view, CLASSES, maps, samples=20, scale="signed").values["infidelity"] < 1e-6).all()


@pytest.mark.parametrize("factor", [7.5, 1e-6, 1e6])
def test_the_maps_unit_does_not_matter(factor):
    view, maps = linear_view(), random_maps(3, 1, 6, 8)
    plain, scaled = (score(view, CLASSES, m).values["infidelity"] for m in (maps, factor * maps))
    torch.testing.assert_close(scaled, plain, rtol=1e-5, atol=0)


def test_squares_lie_anywhere_within_the_picture():
    masks = infidelity._squares(linear_view(count=1, height=12, width=16), 20_000, 0.36)(torch.arange(20_000))
    sides = masks.any(2).sum(1)
    assert masks.any(1).sum(1).equal(sides)
    assert masks.sum((1, 2)).equal(sides**2)
    for side in (1, 2, 3, 4):  # 0.36 of 12 pixels, each side as likely, and each place
        squares = masks[sides == side]
        assert len(squares) / 20_000 == pytest.approx(0.25, abs=0.015)
        corner = squares.flatten(1).int().argmax(1)  # the first pixel, row by row
        often = corner.bincount(minlength=12 * 16).view(12, 16) / len(squares)
        down, along = 13 - side, 17 - side
        assert (often[:down, :along] - 1 / (down * along)).abs().max() < 0.006
        assert (often[:down, :along] > 0).all()


def test_methods_share_all_forwards():
    view, memory = linear_view(), Memory()
    for seed in range(3):
        score(view, CLASSES, random_maps(3, 1, 6, 8, seed=seed), samples=20, memory=memory)
    changed = torch.cat(view.net.fed)
    assert view.net.features == 3
    assert len(changed) == 60 == len(changed.flatten(1).unique(dim=0))
    assert not (changed == view.images.repeat_interleave(20, dim=0)).all(-1).all(-1).all(-1).any()


@pytest.mark.parametrize("perturbation", ["squares", "noise"])
def test_a_batch_equals_single_images(perturbation):
    view, maps = linear_view(), random_maps(3, 1, 6, 8)
    together = score(view, CLASSES, maps, perturbation=perturbation).values["infidelity"]
    for b in range(3):
        alone = make_view(view.net, view.images[b : b + 1], seeds=[b])
        found = score(alone, CLASSES[b : b + 1], maps[b : b + 1], perturbation=perturbation).values["infidelity"]
        torch.testing.assert_close(found, together[b : b + 1], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("perturbation", ["squares", "noise"])
def test_out_of_memory_changes_nothing(perturbation):
    maps = random_maps(3, 1, 6, 8)
    plain, tight = (
        score(linear_view(most=most), CLASSES, maps, perturbation=perturbation).values["infidelity"] for most in (8, 2)
    )
    torch.testing.assert_close(tight, plain, rtol=1e-5, atol=1e-9)


def test_blank_maps_have_no_score_and_leave_the_others_theirs():
    view = linear_view(count=4)
    classes, maps = torch.tensor([[1], [0], [1], [0]]), random_maps(4, 1, 6, 8)
    whole = score(view, classes, maps).values["infidelity"]
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
    assert scores.values["infidelity"].isnan().tolist() == [True, True, True, False]
    assert scores.values["infidelity"][3] == whole[3]


def test_a_map_that_lies_where_no_square_was_foretells_nothing(monkeypatch):
    view = linear_view()
    mask = torch.zeros(24, 32, dtype=torch.bool)
    mask[:4, :4] = True
    monkeypatch.setattr(infidelity, "_squares", lambda *_: lambda jobs: mask.expand(len(jobs), -1, -1))
    maps = torch.zeros(3, 1, 24, 32)
    maps[..., 20:, 20:] = 1
    falls = (exact(view, CLASSES) * mask).sum((1, 2, 3))
    found = score(view, CLASSES, maps, samples=2).values["infidelity"]
    torch.testing.assert_close(found, falls.double() ** 2, rtol=1e-4, atol=1e-6)


def test_no_method_draws_the_same_numbers():
    view = linear_view()
    own, methods = (
        torch.stack([torch.rand(9, generator=source) for source in sources])
        for sources in (_sampled.generators(view), view.generators())
    )
    assert not torch.isclose(own[:, None], methods[None]).any()


def test_the_command_line_reads_and_refuses_parameters():
    question = parse_question("infidelity:perturbation=noise,samples=9,scale=signed,sigma=0.1,output=softmax")
    assert question.parameters["samples"] == 9
    for wrong, words in (("samples=1", "2 or more"), ("largest=1.5", "shorter side"), ("sigma=0", "above 0")):
        with pytest.raises(SalcheckError, match=words):
            parse_question(f"infidelity:{wrong}")
