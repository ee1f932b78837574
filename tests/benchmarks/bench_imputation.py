"""What filling removed pixels costs beside grad-cam's imputer, and how far the two are apart.

    python -m tests.benchmarks.bench_imputation (--shared FOLDER | --tiny) [--n 16] [--rounds 5] [--device cuda]

The regions are the most relevant pixels of Grad-CAM maps of a ResNet-50, for real photographs and the class it sees.
Both fill the same images in one process, in turn; the fastest of several rounds counts for each, since other work on
the machine only ever adds. grad-cam's noise is set to 0, so that the two should agree; it always runs on the CPU.
"""

import time
from collections.abc import Callable

import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from torch import Tensor

from salcheck.datasets import Dataset
from salcheck.maps.ranking import top_set, upsample
from salcheck.methods import parse_method
from salcheck.network.model import Model
from salcheck.perturb.imputation import impute
from tests.benchmarks.subject import parser, subject

PERCENTS = (5, 25, 50, 75, 90)


def main() -> None:
    given = parser(__doc__)
    given.add_argument("--n", type=int, default=16)
    given.add_argument("--rounds", type=int, default=5)
    given.add_argument("--device", default="cpu")
    options = given.parse_args()
    if options.tiny:
        options.n, options.rounds = 2, 1
    images, maps = photographs(*subject(options, "imagenet", "val"), options.n)
    print(f"{len(images)} photographs, {options.device}, {torch.get_num_threads()} threads, best of {options.rounds}")
    print(f"{'removed':>9}{'salcheck':>12}{'grad-cam':>12}{'ratio':>8}{'largest difference':>22}   (ms per image)")
    for percent in PERCENTS:
        compare(images, top_set(maps, percent)[0], percent, options.rounds, options.device)


def photographs(model: Model, data: Dataset, n: int) -> tuple[Tensor, Tensor]:
    """Images (n, 3, H, W) and their Grad-CAM maps (n, H, W) for the class of the highest score."""
    images = model.batch([model.transform(data.read(item)) for item in data.items[:n]])
    view = model.view(lambda: images, range(len(images)))
    maps = parse_method("gradcam").saliency(view, view.logits.argmax(-1, keepdim=True))
    return images.contiguous(), upsample(maps, view.size)[:, 0]


def compare(images: Tensor, removed: Tensor, percent: float, rounds: int, device: str) -> None:
    there = images.to(device), removed.to(device)
    times = [(timed(lambda: impute(*there)), timed(lambda: grad_cam(images, removed))) for _ in range(rounds)]
    own, other = (1e3 * min(seconds) / len(images) for seconds in zip(*times, strict=True))
    apart = (impute(*there).cpu() - grad_cam(images, removed)).abs().amax((1, 2, 3)) / images.std((1, 2, 3))
    difference = f"{float(apart.max()):.1e} deviations"
    print(f"{percent:7} %{own:12.1f}{other:12.1f}{other / own:8.1f}{difference:>22}")


def grad_cam(images: Tensor, removed: Tensor) -> Tensor:
    imputer = NoisyLinearImputer(noise=0)
    return torch.stack([imputer(image, (~mask).float()) for image, mask in zip(images, removed, strict=True)])


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
