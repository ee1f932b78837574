"""Make timm's network with what the user or a checkpoint says of it."""

from collections.abc import Mapping
from typing import Any

import timm
from torch import Tensor

from salcheck.network.settings import Settings


def create(model: str, settings: Settings, **options: Any) -> Any:
    """timm's network of this name, for images of the size that the settings name, where its size is fixed."""
    options = {**options, **settings.model_kwargs}
    if settings.img_size is None or "img_size" in options:
        return timm.create_model(model, **options)
    try:
        return timm.create_model(model, **options, img_size=settings.img_size)
    except TypeError as error:  # one that takes images of any size is not told which
        if "img_size" not in str(error):
            raise
        return timm.create_model(model, **options)


def channels_in(net: Any, state: Mapping[str, Tensor]) -> int | None:
    """How many channels the first convolution of a state dict reads, where the network's own reads three."""
    first = net.pretrained_cfg.get("first_conv")
    name = f"{first[0] if isinstance(first, list | tuple) and first else first}.weight"
    own, given = net.state_dict().get(name), state.get(name)
    if own is None or given is None or own.dim() != 4 or given.dim() != 4:
        return None
    reads = 3 * given.shape[1] / own.shape[1]  # some first rearrange the image, to 16 times the channels
    return int(reads) if reads == int(reads) and reads != 3 else None
