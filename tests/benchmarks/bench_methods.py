"""What methods cost beside grad-cam, torch-cam and captum: one process, the same ResNet-50, photographs and layer.

    python -m tests.benchmarks.bench_methods (--shared FOLDER | --tiny) [--only closed,scorecam,...]

Everything is per image and for its two likeliest classes. Peers run once per class, as their examples do; salcheck
runs once for both. The fastest of several rounds counts, as many for all; what takes minutes runs once.
"""

import copy
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from salcheck.maps.drift import drift
from salcheck.maps.ranking import upsample
from salcheck.methods import parse_method, parse_methods
from salcheck.network.model import Model
from salcheck.references import Features
from tests.benchmarks.subject import parser, subject

CLOSED = (
    "cam,gradcam,gradcampp,hirescam,xgradcam,layercam,eigencam,ablationcam,liftcam,finercam,lafam,case:contrast=logits"
)
IMAGES = 8
ROUNDS = 5


def main() -> None:
    given = parser(__doc__)
    given.add_argument("--only", default="closed,diffcam,integratedgradients,scorecam,ablationcam,amp")
    options = given.parse_args()
    warnings.filterwarnings("ignore")
    model, data = subject(options, "imagenet", "val")
    images = model.batch([model.transform(data.read(item)) for item in data.items[: 2 if options.tiny else IMAGES]])
    classes = model.logits(images).topk(2).indices
    # The peers get the network as timm gives it: weights that want gradients, PyTorch's default memory format.
    plain = copy.deepcopy(model.net).to(memory_format=torch.contiguous_format).requires_grad_(True)
    forward = fastest(lambda: model.logits(images)) / len(images)
    print(f"{model.name}, {torch.get_num_threads()} threads, ms per image for two classes unless said")
    print(f"bare forward, batch {len(images)}: {1e3 * forward:.0f}")
    parts = {
        "closed": closed,
        "diffcam": diffcam,
        "integratedgradients": integrated_gradients,
        "scorecam": scorecam,
        "ablationcam": ablationcam,
        "amp": amp,
    }
    for part in options.only.split(","):
        parts[part](model, plain, images, classes, forward)


def fastest(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Seconds of the fastest of several runs."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def view_of(model: Model, images: Tensor):
    return model.view(lambda: images, range(len(images)))


def closed(model: Model, plain: nn.Module, images: Tensor, classes: Tensor, forward: float) -> None:
    """The closed-form family together, and its members beside their peers."""
    methods = parse_methods([CLOSED])

    def together() -> None:
        view = view_of(model, images)
        for method in methods:
            method.saliency(view, classes)

    took = fastest(together) / len(images)
    print(f"\n{len(methods)} closed-form methods together, forward included: {1e3 * took:.0f} = {took / forward:.2f} x")
    print(f"  ({', '.join(method.spec for method in methods)})")
    own = {"gradcam": "GradCAM", "gradcampp": "GradCAMPlusPlus", "xgradcam": "XGradCAM", "layercam": "LayerCAM"}
    own |= {"hirescam": "HiResCAM", "eigencam": "EigenCAM"}
    theirs = {"gradcam": "GradCAM", "gradcampp": "GradCAMpp", "xgradcam": "XGradCAM", "layercam": "LayerCAM"}
    one, pair = images[:1], classes[:1]
    print(f"  one image alone, to pixels:       {'salcheck':>12}{'grad-cam':>12}{'torch-cam':>12}")
    for name, peer in own.items():
        method = parse_method(name)
        mine = fastest(lambda method=method: upsample(method.saliency(view_of(model, one), pair), model.size))
        other = fastest(lambda peer=peer: grad_cam(peer, plain, one, pair))
        third = fastest(lambda name=name: torch_cam(theirs[name], plain, one, pair)) if name in theirs else None
        print(f"  {name:33}{1e3 * mine:12.0f}{1e3 * other:12.0f}" + (f"{1e3 * third:12.0f}" if third else ""))


def diffcam(model: Model, plain: nn.Module, images: Tensor, classes: Tensor, forward: float) -> None:
    """DiffCAM with the 100 nearest of 1000 made-up class means, beyond the forward."""
    generator = torch.Generator().manual_seed(0)
    pooled = torch.rand(1000, model.net.num_features, generator=generator)
    reference = {"features": Features(pooled, torch.arange(1000)[:, None])}
    method = parse_method("diffcam")
    view = view_of(model, images)
    _ = view.acts
    method.saliency(view, classes, reference)
    took = fastest(lambda: method.saliency(view, classes, reference)) / len(images)
    print(f"\ndiffcam, 100 references, beyond the forward: {1e3 * took:.1f}")


def integrated_gradients(model: Model, plain: nn.Module, images: Tensor, classes: Tensor, forward: float) -> None:
    from captum.attr import IntegratedGradients

    one, pair = images[:1], classes[:1]
    method = parse_method("integratedgradients")
    steps = method.parameters["steps"]

    def captum(chunk: int | None) -> Tensor:
        peer, image = IntegratedGradients(plain), one.contiguous()
        both = [peer.attribute(image, target=int(u), n_steps=steps, internal_batch_size=chunk) for u in pair[0]]
        return torch.stack([one.sum(1) for one in both], dim=1)

    mine = fastest(lambda: method.saliency(view_of(model, one), pair), 3)
    whole, chunked = fastest(lambda: captum(None), 3), fastest(lambda: captum(8), 3)
    maps, theirs = method.saliency(view_of(model, one), pair), captum(8)
    print(f"\nintegratedgradients, {steps} steps: salcheck {mine:.2f} s, captum {whole:.2f} s, by 8 {chunked:.2f} s")
    print(f"  {min(whole, chunked) / mine:.2f} x; largest difference / peak {relative(maps, theirs):.1e}")


def scorecam(model: Model, plain: nn.Module, images: Tensor, classes: Tensor, forward: float) -> None:
    one, pair = images[:1], classes[:1]
    method = parse_method("scorecam:align_corners=true")
    maps, mine = timed(lambda: method.saliency(view_of(model, one), pair))
    theirs, other = timed(lambda: grad_cam("ScoreCAM", plain, one, pair, raw=True))
    print(f"\nscorecam: salcheck {mine:.0f} s, grad-cam {other:.0f} s, {other / mine:.1f} x")
    print(f"  largest difference / peak {relative(maps, theirs):.1e}")
    _, third = timed(lambda: torch_cam("ScoreCAM", plain, one, pair))
    print(f"  torch-cam {third:.0f} s, {third / mine:.1f} x")


def ablationcam(model: Model, plain: nn.Module, images: Tensor, classes: Tensor, forward: float) -> None:
    one, pair = images[:1], classes[:1]
    method = parse_method("ablationcam")
    mine = fastest(lambda: method.saliency(view_of(model, one), pair))
    maps = method.saliency(view_of(model, one), pair)
    theirs, other = timed(lambda: grad_cam("AblationCAM", plain, one, pair, raw=True))
    print(f"\nablationcam with its forward: salcheck {1e3 * mine:.0f} ms, grad-cam {other:.0f} s, {other / mine:.0f} x")
    scale = theirs.amax(dim=(-2, -1), keepdim=True) / maps.amax(dim=(-2, -1), keepdim=True)
    print(f"  largest difference / peak, scaled alike {relative(maps * scale, theirs):.1e}")


def amp(model: Model, plain: nn.Module, images: Tensor, classes: Tensor, forward: float) -> None:
    """How far bfloat16 moves the maps, and what it gains."""
    import dataclasses

    half = dataclasses.replace(model, amp="bf16")
    took = fastest(lambda: half.logits(images)) / len(images)
    print(f"\nbf16 forward: {1e3 * took:.0f}; maps beside float32, median over {len(images)} images and two classes:")
    exact, cast = view_of(model, images), view_of(half, images)
    for method in parse_methods([CLOSED]):
        drifts = drift(method.saliency(cast, classes), method.saliency(exact, classes), cast.size)
        errors, shared = zip(*((one.error, one.shared) for row in drifts for one in row), strict=True)
        error, common = (float(torch.tensor(values).median()) for values in (errors, shared))
        print(f"  {method.spec:24} largest difference {error:6.1%} of the peak, {common:.0f} % of the top pixels")


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def relative(maps: Tensor, theirs: Tensor) -> float:
    return float((maps - theirs).abs().max() / theirs.abs().max())


def grad_cam(peer: str, plain: nn.Module, images: Tensor, classes: Tensor, raw: bool = False) -> Tensor:
    """Maps of the grad-cam package, once per class; `raw` before its scaling, clipped at 0 as it does."""
    import numpy as np
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    maps = []
    images = images.contiguous()
    with getattr(pytorch_grad_cam, peer)(plain, [plain.layer4]) as cam:
        original = cam.get_cam_image
        kept: list[np.ndarray] = []
        cam.get_cam_image = lambda *a, **k: kept.append(original(*a, **k)) or kept[-1]
        for column in classes.T:
            with warnings.catch_warnings():
                cam(images, targets=[ClassifierOutputTarget(int(u)) for u in column])
            maps.append(torch.from_numpy(np.maximum(kept[-1], 0).astype(np.float32)))
    return torch.stack(maps, dim=1)


def torch_cam(peer: str, plain: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    import torchcam.methods

    images, maps = images.contiguous(), []
    with getattr(torchcam.methods, peer)(plain, "layer4") as cam:
        for column in classes.T:
            scores = plain(images.clone().requires_grad_())
            maps.append(cam([int(u) for u in column], scores)[0].detach())
    return torch.stack(maps, dim=1)


if __name__ == "__main__":
    main()
