"""Raw maps of the `grad-cam` package, the oracle of the CAM family, before its clipping and scaling."""

import copy
import warnings
from collections.abc import Callable

import numpy as np
import torch


def peer_maps(
    method: str,
    net,
    layer: str,
    images: torch.Tensor,
    classes: torch.Tensor,
    target: Callable[[int, int], Callable] | None = None,
) -> torch.Tensor:
    """(B, M, h, w) of one of the package's classes, run once per class as its users must.

    `target(image, class)` is what the package differentiates, the logit of the class if it is not given.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    target = target or (lambda image, u: ClassifierOutputTarget(u))
    net = copy.deepcopy(net).requires_grad_(True)  # the package differentiates the whole network
    layer = net.get_submodule(layer)
    maps = []
    with getattr(pytorch_grad_cam, method)(net, [layer]) as cam:
        for column in classes.T:
            targets = [target(image, int(u)) for image, u in enumerate(column)]
            cam(images, targets=targets)
            acts = cam.activations_and_grads.activations[0].numpy()
            grads = cam.activations_and_grads.gradients[0].numpy() if cam.uses_gradients else None
            raw = cam.get_cam_image(images, layer, targets, acts, grads, False)
            maps.append(torch.from_numpy(np.asarray(raw, dtype=np.float32)))
    return torch.stack(maps, dim=1)
