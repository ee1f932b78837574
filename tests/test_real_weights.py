"""Laws on real ImageNet weights and photographs; skipped where these do not lie beside the checkout."""

import pytest
import torch

from salcheck.diagnostics.overlap import score
from salcheck.inputs.opening import open_data
from salcheck.methods import fitting, parse_method, parse_methods
from salcheck.network.loading import load_model

COUNT = 12
ALIKE = ("cam", "gradcam", "hirescam", "xgradcam", "ablationcam", "liftcam")


def see(model, shared):
    """A view of photographs and their top two classes (B, 2)."""
    data = open_data("imagenet", shared / "photos" / "val", model, 0)
    images = [model.transform(data.read(item)) for item in data.items[:COUNT]]
    view = model.view(lambda: model.batch(images), list(range(COUNT)))
    return view, view.logits.topk(2).indices


def test_grad_cam_of_a_resnet_is_its_class_activation_map(resnet50, shared):
    view, classes = see(resnet50, shared)
    h, w = view.acts.shape[-2:]
    cam = torch.einsum("bmc,bchw->bmhw", resnet50.net.fc.weight[classes], view.acts) / (h * w)
    maps = parse_method("gradcam").saliency(view, classes)
    assert maps.max() > 0.1
    assert torch.allclose(maps, cam.clamp(min=0), atol=1e-5)


def test_case_parts_the_top_two_classes_that_grad_cam_mixes(resnet50, shared):
    view, classes = see(resnet50, shared)
    overlap = {
        name: score(view, classes, parse_method(name).saliency(view, classes), percent=5)
        .values["overlap"]
        .nanmean()
        .item()
        for name in ("layercam", "gradcam", "case:contrast=logits", "random")
    }
    assert overlap["layercam"] > overlap["gradcam"] > overlap["case:contrast=logits"]
    assert overlap["random"] < 20


@pytest.mark.parametrize(
    "name", ["densenet169.refit_in1k", "mobilenetv2_100.tfq_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"]
)
def test_other_real_models_give_maps_that_differ_by_class(name, shared):
    model = load_model(f"local-dir:{shared / 'models' / name}", device="cpu")
    view, classes = see(model, shared)
    for method in ("gradcam", "case:contrast=logits"):
        maps = parse_method(method).saliency(view, classes)
        assert maps.isfinite().all()
        assert (maps.amax(dim=(-2, -1)) > 0).float().mean() > 0.8
        assert not torch.allclose(maps[:, 0], maps[:, 1], rtol=0.05)


@pytest.mark.parametrize(
    "name",
    [
        "resnet50.pqf_in1k",
        "densenet169.refit_in1k",
        "mobilenetv2_100.tfq_in1k",
        "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    ],
)
def test_every_quick_method_has_a_map_on_real_models(name, shared):
    model = load_model(f"local-dir:{shared / 'models' / name}", device="cpu")
    view, classes = see(model, shared)
    methods, _ = fitting(parse_methods(["quick"]), model, None)
    assert len(methods) > 10
    for method in methods:
        maps = method.saliency(view, classes)
        assert maps.isfinite().all(), method.name
        assert (maps.amax(dim=(-2, -1)) > 0).float().mean() > 0.8, method.name


def test_one_map_has_many_names_at_a_pooled_linear_head(resnet50, shared):
    """CAM, Grad-CAM, HiResCAM, XGrad-CAM: one; Ablation-CAM and LIFT-CAM: one; neither of them the other."""
    view, classes = see(resnet50, shared)
    maps = {name: parse_method(name).saliency(view, classes).clamp(min=0) for name in ALIKE}
    unit = {name: one / one.amax(dim=(-2, -1), keepdim=True) for name, one in maps.items()}
    for name in ("gradcam", "hirescam", "xgradcam"):
        assert torch.allclose(unit[name], unit["cam"], atol=1e-4)
    assert torch.allclose(unit["ablationcam"], unit["liftcam"], atol=1e-4)
    assert not torch.allclose(unit["ablationcam"], unit["cam"], atol=0.05)
