import os

import numpy as np
import pytest
import torch
from PIL import Image

from salcheck.errors import SalcheckError
from salcheck.maps.ranking import place, upsample
from salcheck.methods import parse_methods
from salcheck.network.loading import load_model
from salcheck.runs.explain import explain
from tests.makers import save_images, save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_model(tmp_path_factory.mktemp("toy"), side=96), device="cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return sorted(save_images(tmp_path_factory.mktemp("images"), classes=2, each=3).rglob("*.png"))


def explained(model, paths, methods="gradcam", asked=("top1", "top2"), **options):
    return list(explain(model, paths, parse_methods([methods]), asked, {}, **options))


def test_classes_are_asked_for_by_rank_number_or_name(model, images):
    (one,) = explained(model, images[:1], asked=["top1", "TOP3", "4", "kind 5", "top7"])
    ranked = one.logits.argsort(descending=True).tolist()
    assert [c for c, _ in one.classes] == [ranked[0], ranked[2], 4, 5, ranked[6]]
    assert [c for c, _ in one.top] == ranked[:5]
    chances = one.logits.softmax(-1)
    assert all(p == pytest.approx(float(chances[c])) for c, p in [*one.classes, *one.top])


def test_each_map_is_the_methods_own_for_that_image_and_class(model, images):
    (method,) = parse_methods(["gradcam"])
    for one in explained(model, images, batch_size=4):
        view = model.view(lambda path=one.path: model.batch([model.transform(Image.open(path))]), [0])
        classes = torch.tensor([[c for c, _ in one.classes]])
        expected = method.saliency(view, classes)[0]
        assert expected.shape == (2, 3, 3)  # the layer's own grid
        assert torch.allclose(one.maps["gradcam"], expected, atol=1e-5)
        assert torch.allclose(one.logits, view.logits[0], atol=1e-5)
        assert torch.allclose(one.pixels["gradcam"], upsample(expected, (96, 96)), atol=1e-4)
        assert str(one.places["gradcam"][1]) == str(place(one.pixels["gradcam"][1]))


def test_maps_are_called_as_they_were_typed(model, images):
    (one,) = explained(model, images[:1], "Grad-CAM,case:contrast=logits,k=2")
    assert list(one.maps) == list(one.overlaps) == ["Grad-CAM", "case:contrast=logits,k=2"]


def test_two_classes_have_an_overlap_and_three_have_none(model, images):
    (one,) = explained(model, images[:1], "center")
    assert one.overlaps == {"center": 100.0}
    (one,) = explained(model, images[:1], "center", ["top1", "top2", "top3"])
    assert one.overlaps == {"center": None}


def test_results_come_in_order_and_a_broken_image_costs_no_other(model, images, tmp_path):
    broken, missing = tmp_path / "broken.png", tmp_path / "missing.png"
    broken.write_bytes(images[0].read_bytes()[:100])
    paths = [broken, images[0], images[1], missing, images[2], images[0]]
    results = explained(model, paths, batch_size=2)
    assert [isinstance(result, SalcheckError) for result in results] == [True, False, False, True, False, False]
    assert [r.path for r in results if not isinstance(r, SalcheckError)] == [images[i] for i in (0, 1, 2, 0)]
    assert str(broken) in str(results[0])
    assert str(missing) in str(results[3])


def test_the_batch_changes_no_map_and_neither_do_its_neighbours(model, images):
    alone = explained(model, images, "gradcam,random", batch_size=1)
    together = explained(model, images, "gradcam,random", batch_size=6)
    for one, other in zip(alone, together, strict=True):
        assert torch.allclose(one.maps["gradcam"], other.maps["gradcam"], atol=1e-5)
        assert torch.equal(one.maps["random"], other.maps["random"])


def test_the_seed_decides_what_is_random_and_nothing_else(model, images):
    first, again, other = (explained(model, images[:1], "gradcam,random", seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first.maps["random"], again.maps["random"])
    assert not torch.equal(first.maps["random"], other.maps["random"])
    assert torch.equal(first.maps["gradcam"], other.maps["gradcam"])


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("top0", "top1 to top7"),
        ("top8", "top1 to top7"),
        ("7", "0 to 6"),
        ("kind 9", "did you mean kind"),
        ("", "unknown class"),
        ("top" + "9" * 5000, "unknown class"),
    ],
)
def test_a_class_that_is_not_there_stops_before_any_image_is_read(model, asked, says):
    with pytest.raises(SalcheckError, match=says):
        explain(model, [], parse_methods(["gradcam"]), [asked], {})


@pytest.mark.parametrize("size", [(1, 1), (180, 2)])
def test_odd_sizes_reach_the_model(model, tmp_path, size):
    Image.new("RGB", size, (200, 30, 30)).save(tmp_path / "odd.png")
    (one,) = explained(model, [tmp_path / "odd.png"])
    assert one.picture.shape == (96, 96, 3)
    assert one.maps["gradcam"].isfinite().all()
    assert np.allclose(one.picture.reshape(-1, 3).mean(0) * 255, [200, 30, 30], atol=1.5)


def test_a_file_name_of_any_bytes_is_explained(model, images, tmp_path):
    file = tmp_path / os.fsdecode(b"caf\xe9.png")
    try:
        file.write_bytes(images[0].read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    (one,) = explained(model, [file], "random")
    assert one.path == file


def test_weights_that_are_not_finite_are_said_and_not_drawn(tmp_path, images):
    folder = tmp_path / "nan"
    broken = load_model(save_model(folder), device="cpu")
    broken.net.fc.weight.fill_(float("nan"))
    (result,) = explained(broken, images[:1])
    assert isinstance(result, SalcheckError)
    assert "not finite" in str(result)
