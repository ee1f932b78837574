"""Make timm's network, whether or not it must be told the size of the images."""

from typing import Any

import timm


def create(model: str, **options: Any) -> Any:
    """timm's network of this name. `img_size` among the options is for networks whose size is fixed; others take images
    of any size, and are not told.
    """
    try:
        return timm.create_model(model, **options)
    except TypeError as error:
        if "img_size" not in options or "img_size" not in str(error):
            raise
        return timm.create_model(model, **{name: value for name, value in options.items() if name != "img_size"})
