"""Raw maps of the `grad-cam` package, the oracle of the CAM family, before its clipping and scaling."""

import copy
import warnings

import numpy as np
import torch


def peer_maps(method: str, net, layer: str, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """(B, M, h, w) of one of the package's classes, run once per class as its users must."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net = copy.deepcopy(net).requires_grad_(True)  # the package differentiates the whole network
    layer = net.get_submodule(layer)
    maps = []
    with getattr(pytorch_grad_cam, method)(net, [layer]) as cam:
        for column in classes.T:
            targets = [ClassifierOutputTarget(int(u)) for u in column]
            cam(images, targets=targets)
            acts, grads = cam.activations_and_grads.activations[0], cam.activations_and_grads.gradients[0]
            raw = [cam.get_cam_image(images, layer, targets, a.numpy(), g.numpy(), False) for a, g in [(acts, grads)]]
            maps.append(torch.from_numpy(np.asarray(raw[0], dtype=np.float32)))
    return torch.stack(maps, dim=1)
