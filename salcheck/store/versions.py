"""With what a number was made."""

import platform


def versions() -> dict[str, str]:
    """Versions of salcheck and of the libraries that the numbers come from."""
    import numpy
    import PIL
    import timm
    import torch
    import torchvision

    import salcheck

    modules = {"salcheck": salcheck, "torch": torch, "torchvision": torchvision, "timm": timm}
    modules |= {"numpy": numpy, "pillow": PIL}
    return {"python": platform.python_version()} | {name: module.__version__ for name, module in modules.items()}
