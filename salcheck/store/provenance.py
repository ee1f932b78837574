"""Which code made a number."""

import functools
import hashlib
import platform

from salcheck.naming.registry import PACKAGE


@functools.cache
def code_digest() -> str:
    """SHA-256 over salcheck's own sources: scores and maps of other code are not taken for those of this one."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(file.relative_to(PACKAGE).as_posix().encode() + b"\n" + file.read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on, and the code's digest."""
    import numpy
    import PIL
    import timm
    import torch
    import torchvision

    import salcheck

    modules = {"salcheck": salcheck, "torch": torch, "torchvision": torchvision, "timm": timm}
    modules |= {"numpy": numpy, "pillow": PIL}
    numbers = {name: module.__version__ for name, module in modules.items()}
    return {"python": platform.python_version(), **numbers, "code": code_digest()}
