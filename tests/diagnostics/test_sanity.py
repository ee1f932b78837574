import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from salcheck.diagnostics import Seen, sanity
from salcheck.diagnostics.sanity import score, subjects
from salcheck.errors import SalcheckError
from salcheck.inputs.opening import open_data
from salcheck.maps.notes import Kind, Note
from salcheck.methods import center, edges, eigencam, gradcam, gradient, guidedbackprop, lafam, layercam, random
from salcheck.network.loading import load_model
from salcheck.network.randomise import parts
from salcheck.questions import QUESTIONS
from salcheck.runs.asking import parse_question
from tests.makers import save_model
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[2], [5], [0], [2]])


@pytest.fixture(scope="module")
def model(scenes_model):
    return dataclasses.replace(
        scenes_model, net=make_net("test_resnet"), weights="made", config={**scenes_model.config}
    )


@pytest.fixture(scope="module")
def others(model):
    return subjects(model)


def view_of(net, count=4):
    return make_view(net, make_images(4, 160)[:count, :, :128])


def seen(others, explain, frozen=None, count=4):
    return [Seen(name, view_of(one.net, count), explain, frozen or explain) for name, one in others.items()]


def following(net, count=4):
    """Of each of the first `count` images of four the next one; the seeds say which they are."""
    rows = [(b + 1) % 4 for b in range(count)]
    return make_view(net, make_images(4, 160)[rows, :, :128], seeds=rows)


def ask(model, others, method, count=4, frozen=None, following=following):
    classes = CLASSES[:count]
    maps = method(view_of(model.net, count), classes)
    beside = {"explain": method, "following": lambda: following and following(model.net, count)}
    return score(view_of(model.net, count), classes, maps, subjects=seen(others, method, frozen, count), **beside)


@pytest.mark.oracle
def test_likeness_is_that_of_scipy_with_the_map_of_the_same_class(model, others):
    found = ask(model, others, layercam.saliency)
    own = layercam.saliency(view_of(model.net), CLASSES)[:, 0].numpy()
    names = list(others)[:6]
    assert found.levels == [1, 2, 3, 4, 5, 6]
    for k, name in enumerate(names):
        other = layercam.saliency(view_of(others[name].net), CLASSES)[:, 0].numpy()
        expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(own, other, strict=True)]
        assert found.values["spearman"][:, k].tolist() == pytest.approx(expected, abs=1e-5)


def test_signs_count_in_one_rank_correlation_and_not_in_the_other(model, others):
    def signed(view, classes):
        return view.images.mean(1, keepdim=True) * (-1 if view.net is not model.net else 1)

    values = ask(model, others, signed).values
    assert values["spearman_abs"].eq(1).all()
    assert values["spearman"].eq(-1).all()
    assert (values["ssim"] < 0.5).all()


def test_what_is_random_at_each_level(model, others):
    """A method that reports its weights: how many parts are no longer the trained ones, by mode."""
    groups = parts(model.net)
    trained = model.net.state_dict(keep_vars=True)
    asked = []

    def explain(view, classes):
        state = view.net.state_dict(keep_vars=True)
        asked.append([name for name, group in groups.items() if state[group[0]] is not trained[group[0]]])
        return lafam.saliency(view, classes)

    ask(model, others, explain)
    names = list(groups)
    assert asked[1:-1] == [names[: k + 1] for k in range(6)] + [[name] for name in names[1:]]
    assert asked[-1] == []  # the map of the next image is the trained model's


def test_levels_of_each_mode_are_those_of_its_own_models(model, others):
    values = ask(model, others, layercam.saliency).values
    own = layercam.saliency(view_of(model.net), CLASSES)[:, 0]
    for k, name in enumerate(["fc", *list(others)[6:]]):
        other = layercam.saliency(view_of(others[name].net), CLASSES)[:, 0]
        expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(own.numpy(), other.numpy(), strict=True)]
        assert values["spearman_abs_independent"][:, k].tolist() == pytest.approx(expected, abs=1e-5)
    assert not values["spearman_abs_independent"][:, 1:].allclose(values["spearman_abs"][:, 1:], atol=0.05)


def test_a_pair_is_the_map_of_the_next_image(model, others):
    values = ask(model, others, gradient.saliency).values
    own = gradient.saliency(view_of(model.net), CLASSES)[:, 0].numpy()
    likeliest = view_of(model.net).logits.argmax(1)[:, None]
    theirs = gradient.saliency(view_of(model.net), likeliest)[:, 0].numpy()
    expected = [spearmanr(own[b].ravel(), theirs[(b + 1) % 4].ravel()).statistic for b in range(4)]
    assert values["spearman_abs_pair"].tolist() == pytest.approx(expected, abs=1e-5)


def test_the_excess_by_hand(model, others):
    values = ask(model, others, layercam.saliency).values
    curve, pair = (values[name].double().numpy() for name in ("spearman_abs", "spearman_abs_pair"))
    np.testing.assert_allclose(values["excess"], curve.mean(1) - 0.5 - pair / 2, atol=1e-6)
    np.testing.assert_allclose(values["excess_last"], curve[:, -1] - pair, atol=1e-6)


@pytest.mark.parametrize("control", [center, edges, random])
def test_maps_that_do_without_the_weights_do_not_pass(model, others, control):
    values = ask(model, others, control.saliency).values
    for name in ("spearman_abs", "spearman", "spearman_abs_independent", "spearman_frozen"):
        assert values[name].eq(1).all()
    assert values["ssim"].allclose(torch.tensor(1.0), atol=1e-5)
    assert (values["excess"] >= 0).all()
    assert (values["excess_last"] >= 0).all()
    if control is center:
        assert values["excess"].eq(0).all()
    else:
        assert (values["excess"] > 0.1).all()


@pytest.mark.parametrize("method", [lafam, eigencam])
def test_what_reads_no_head_does_not_change_with_it(model, others, method):
    values = ask(model, others, method.saliency).values
    assert values["spearman_abs"][:, 0].eq(1).all()
    assert (values["spearman_abs"][:, 1:] < 1).all()
    assert (values["spearman_abs_independent"][:, 1:] < 1).all()


def test_what_reads_the_head_changes_with_it(model, others):
    values = ask(model, others, gradcam.saliency).values
    first = values["spearman_abs"][:, 0]
    assert (first.isnan() | (first < 0.999)).all()
    assert first.equal(values["spearman_abs_independent"][:, 0]) or first.isnan().any()


def test_guided_backpropagation_on_the_trained_model_is_slower_to_forget_than_layercam(scenes_model):
    """Adebayo et al. 2018, on the built-in model and its own pictures."""
    data = open_data("scenes", None, scenes_model, 0)
    images = scenes_model.batch([scenes_model.transform(data.read(item)) for item in data.items[:4]])
    others = subjects(scenes_model)
    found = {}
    for method in (guidedbackprop, layercam):
        views = {name: one.view(lambda: images, range(4)) for name, one in {"": scenes_model, **others}.items()}
        classes = views[""].logits.argmax(1)[:, None]
        given = [Seen(name, views[name], method.saliency, method.saliency) for name in others]
        others_of = {
            "explain": method.saliency,
            "following": lambda: scenes_model.view(lambda: images.roll(-1, 0), range(4)),
        }
        values = score(views[""], classes, method.saliency(views[""], classes), subjects=given, **others_of).values
        found[method] = values
    assert (found[guidedbackprop]["ssim"][:, 0] > 0.95).all()
    assert (found[guidedbackprop]["spearman_abs"][:, :3].mean(1) > found[layercam]["spearman_abs"][:, :3].mean(1)).all()
    assert found[layercam]["excess"].mean() < 0 < found[guidedbackprop]["excess"].mean()


def test_frozen_references_are_told_apart_and_asked_for_only_where_there_are_any(model, others):
    asked = []

    def explain(view, classes):
        asked.append(view)
        return layercam.saliency(view, classes)

    def frozen(view, classes):
        return edges.saliency(view, classes)

    same = ask(model, others, explain)
    assert len(asked) == 1 + 11 + 1  # the trained model's, the random ones', and the next image's
    for name in sanity.MEASURES:
        for mode in ("", "_independent"):
            assert same.values[f"{name}{mode}"].nan_to_num(9).equal(same.values[f"{name}{mode}_frozen"].nan_to_num(9))
    apart = ask(model, others, explain, frozen=frozen)
    for name in sanity.MEASURES:
        assert apart.values[name].nan_to_num(9).equal(same.values[name].nan_to_num(9))
        assert not apart.values[f"{name}_frozen"].allclose(same.values[name])
    columns = apart.values["spearman_frozen"]
    assert columns.equal(columns[:, :1].expand_as(columns))  # edges are the same whatever the weights


def test_a_blank_map_with_random_weights_has_no_likeness_and_is_left_out_of_the_mean(model, others):
    def explain(view, classes):
        maps = layercam.saliency(view, classes)
        state = view.net.state_dict(keep_vars=True)
        if state["layer3.0.conv1.weight"] is not model.net.state_dict(keep_vars=True)["layer3.0.conv1.weight"]:
            maps[1] = 0
        return maps

    found = ask(model, others, explain)
    curve = found.values["spearman_abs"]
    assert curve[1].isnan().tolist() == [False, False, True, True, True, True]
    assert found.values["ssim"][1].isnan().equal(curve[1].isnan())
    assert not curve[[0, 2, 3]].isnan().any()
    expected = curve[1, :2].mean() - (1 + found.values["spearman_abs_pair"][1]) / 2
    assert found.values["excess"][1].item() == pytest.approx(expected.item(), abs=1e-6)
    assert found.values["excess_last"][1].isnan()
    assert found.notes == [None] * 4
    assert found.gap.kind is Kind.BLANK


def test_a_map_that_is_negative_everywhere_with_random_weights_is_ranked_all_the_same(model, others):
    """As of DiffCAM with the trained model's references."""

    def explain(view, classes):
        maps = lafam.saliency(view, classes)
        return maps if view.net is model.net else maps - 100

    values = ask(model, others, explain).values
    plain = ask(model, others, lafam.saliency).values
    torch.testing.assert_close(values["spearman"], plain["spearman"], atol=0.02, rtol=0)
    assert not values["ssim"].isnan().any()


def test_an_image_whose_own_map_is_blank_has_no_score(model, others):
    def explain(view, classes):
        maps = layercam.saliency(view, classes)
        maps[view.seeds.index(2)] = 1
        return maps

    found = ask(model, others, explain)
    assert found.notes == [None, None, Note(Kind.BLANK, "constant"), None]
    assert all(value[2].isnan().all() for value in found.values.values())
    assert found.values["excess"][1].isnan()  # its pair is blank
    assert not found.values["excess"][[0, 3]].isnan().any()


def test_an_image_alone_has_likenesses_but_no_pair(model, others):
    found = ask(model, others, layercam.saliency, count=1, following=None)
    assert found.values["excess"].isnan().all()
    assert found.values["spearman_abs_pair"].isnan().all()
    assert not found.values["spearman_abs"].isnan().all()
    assert found.gap.why == "no other image to compare with"


def test_a_batch_equals_single_images(model, others):
    together = ask(model, others, layercam.saliency)
    alone = ask(model, others, layercam.saliency, count=1)
    for name in (*sanity.MEASURES, "spearman_abs_pair", "excess", "excess_last"):
        torch.testing.assert_close(alone.values[name], together.values[name][:1], atol=1e-3, rtol=1e-3, equal_nan=True)


def test_labels_are_asked_only_where_a_model_is_named(model, others, tmp_path):
    arch = save_model(tmp_path / "shuffled", side=64)
    here = load_model(save_model(tmp_path / "model", side=64), device="cpu")
    given = subjects(here, parts=2, shuffled=arch)
    assert list(given) == ["fc", "layer4 to stem", "layer4 to stem alone", "labels"]
    values = ask(model, given, layercam.saliency).values
    assert values["spearman_abs_labels"].shape == values["ssim_labels"].shape == (4,)
    assert values["spearman_abs_labels"].allclose(torch.ones(4), atol=1e-3)  # the same weights in both files
    assert values["spearman_abs"].shape == values["spearman_abs_independent"].shape == (4, 2)
    turned = ask(model, given, layercam.saliency, frozen=lambda *given: layercam.saliency(*given).flip(-1)).values
    assert turned["spearman_labels"].equal(values["spearman_labels"])  # by references of the shuffled model's own
    asked = ask(model, others, layercam.saliency).values
    labels = {f"{name}_labels" for name in sanity.MEASURES}
    assert set(values) == set(QUESTIONS["sanity"].metrics)
    assert set(asked) == set(QUESTIONS["sanity"].metrics) - labels
    with pytest.raises(SalcheckError, match="another network"):
        subjects(here, shuffled=save_model(tmp_path / "other", classes=5, side=64))


def test_a_map_of_one_absolute_value_has_its_other_likenesses():
    trained = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    signs = torch.ones(1, 4, 4)
    signs[0, ::2] = -1
    absolute, signed, similar = sanity._likeness(trained, (16, 16))(signs)
    assert absolute.isnan().all()
    assert signed.item() == pytest.approx(spearmanr(trained.flatten(), signs.flatten()).statistic, abs=1e-6)
    assert similar.isfinite().all()


@pytest.mark.parametrize("typed", ["parts=1", "parts=-2", "draw=-1"])
def test_what_makes_no_sense_is_one_line(typed):
    with pytest.raises(SalcheckError, match=typed.partition("=")[0]):
        parse_question(f"sanity:{typed}")
