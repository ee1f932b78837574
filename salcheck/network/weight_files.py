"""Files of weights: every tensor by its dotted name, read without running code in the file."""

import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from salcheck.errors import SalcheckError

DEPTH = 8  # of containers in containers: trainers need four, and a file may hold a circle
SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")
# What files begin with that are no weights, and what to say of them.
FOREIGN = {
    b"\x1f\x8b": "is packed by gzip: unpack it first",
    b"BZh": "is packed by bzip2: unpack it first",
    b"\xfd7zXZ": "is packed by xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "is packed by zstd: unpack it first",
    b"version https://git-lfs": "is a Git LFS pointer to the weights: fetch them with 'git lfs pull'",
    b"<": "is a web page, not weights: download the file itself",
    b"\x89HDF": "is an HDF5 file, as Keras writes: salcheck reads weights of PyTorch",
    b"GGUF": "is a GGUF file: salcheck reads weights of PyTorch",
}
SCALARS = [f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")]
PATHS = [f"pathlib{sub}.{name}Path" for sub in ("", "._local") for name in ("Posix", "Windows", "PurePosix")]
# Types that hold data only, which trainers write beside the weights. None is made: `Plain` stands in for each.
PLAIN = [
    "argparse.Namespace",
    "types.SimpleNamespace",
    "torch.torch_version.TorchVersion",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
    *SCALARS,
    *PATHS,
]


@dataclass(frozen=True)
class WeightFile:
    """Tensors of a file by name, names of nested containers joined by dots; `args`: what its trainer was told.

    `averaged`: the names of containers that hold averaged weights, where the file says so and the name does not.
    """

    path: Path
    tensors: dict[str, Tensor]
    args: Mapping[str, Any] = field(default_factory=dict)
    averaged: tuple[str, ...] = ()


class Plain:
    """Stands for an object that holds data only: keeps its attributes, runs nothing."""

    def __new__(cls, *_: Any) -> "Plain":
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


def read_weights(path: Path) -> WeightFile:
    """The file's tensors on the CPU; a `.index.json` stands for all files that it names.

    Raises SalcheckError for a file that is not there, is damaged, holds no named tensors, or could not be read without
    running code in it.
    """
    if not _there(path):
        inside = sorted(file.name for file in path.glob("*") if file.name.endswith(SUFFIXES)) if path.is_dir() else []
        choice = f"one of {', '.join(inside)} in it" if inside else "a .safetensors, .pth or .ckpt file"
        raise SalcheckError(f"no checkpoint file '{path}': give {choice}")
    content = _sharded(path) if path.name.endswith(".json") else _content(path)
    tensors = dict(_flat(content)) if isinstance(content, Mapping) else {}
    if not tensors:
        raise SalcheckError(f"checkpoint '{path}' holds no state dict of tensors: save model.state_dict()")
    # Lightning's callback for averaging puts the averaged weights in the plain ones' place.
    averaged = ("state_dict",) if {"averaging_state", "current_model_state"} <= content.keys() else ()
    return WeightFile(path, tensors, _args(content), averaged)


def _there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # a folder above it that may not be entered
        raise SalcheckError(f"checkpoint '{path}' cannot be read: {error.strerror}") from error


def _content(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise SalcheckError(f"checkpoint '{path}' cannot be read: {error.strerror}") from error
    sound = head[8:9] == b"{"  # after the header's length, in eight bytes
    for magic, complaint in FOREIGN.items():
        if head.lstrip().startswith(magic) and not sound:
            raise SalcheckError(f"checkpoint '{path}' {complaint}")
    if sound or path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except Exception as error:  # the reader raises KeyError too, on types that torch lacks
            raise SalcheckError(f"checkpoint '{path}' is no sound safetensors file: {first_line(error)}") from error
    return _unpickled(path)


def _unpickled(path: Path) -> Any:
    try:
        return _harmless(path, PLAIN)
    except OSError as error:
        raise SalcheckError(f"checkpoint '{path}' cannot be read: {error.strerror or first_line(error)}") from error
    except Exception as error:  # unpicklers raise anything
        large = isinstance(error, MemoryError) or "allocate memory" in str(error)
        why = "is too large for the memory of this machine" if large else _why(path, error)
        raise SalcheckError(f"checkpoint '{path}' {why}") from error


def _harmless(path: Path, names: list[str]) -> Any:
    """The content of a pickle of tensors and plain data, with `Plain` in the place of every type in `names`."""
    with warnings.catch_warnings(), torch.serialization.safe_globals([(Plain, name) for name in names]):
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _why(path: Path, error: Exception) -> str:
    """Why a pickle is not read, and what to do."""
    if "TorchScript" in str(error):
        return f"is a TorchScript program: refused; save its tensors: {_lines(path, 'jit.load', 'c.state_dict()')}"
    if zipfile.is_zipfile(path) and any(name.endswith(".npy") for name in zipfile.ZipFile(path).namelist()):
        return "is an archive of NumPy: salcheck reads weights of PyTorch"
    names = _unsafe(path, error)
    if names:
        shown = ", ".join(names[:3]) + ", …" * (len(names) > 3)
        lines = _lines(path, "load", _tensors_in(path, names), ", weights_only=False")
        return f"cannot be read without running code ({shown}): refused; if you trust it, save its tensors: {lines}"
    pickled = zipfile.is_zipfile(path) or path.read_bytes()[:1] == b"\x80"
    if pickled and "Unsupported operand" in str(error):  # also what NumPy and pickle.dump write
        return "is pickled in another way than by torch.save: refused; save model.state_dict() by torch.save"
    return "is damaged, or was not written by torch.save"


def _unsafe(path: Path, error: Exception) -> list[str]:
    """Dotted names that the pickle would import and that are not in PLAIN, the first that it asks for first."""
    first = re.findall(r"GLOBAL ([\w.]+) (?:was|whose)", str(error))
    try:
        others = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # files older than the zip format, damaged ones
        others = []
    return [name for name in dict.fromkeys([*first, *others]) if name not in PLAIN]


def _tensors_in(path: Path, names: list[str]) -> str:
    """Where the tensors are in `c`, what the pickle holds, as Python; found with `Plain` in the place of its types."""
    either = "c if isinstance(c, dict) else c.state_dict()"
    try:
        content = _harmless(path, PLAIN + names)
    except Exception:
        return either
    if isinstance(content, Plain):
        return "c.state_dict()"
    for key, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, Plain) and "_modules" in vars(value):
            return f"c[{key!r}].state_dict()"
        if isinstance(value, dict) and any(isinstance(one, Tensor) for one in value.values()):
            return f"c[{key!r}]"
    return either


def _lines(path: Path, load: str, tensors: str, option: str = "") -> str:
    return f"import torch; c = torch.{load}({str(path)!r}{option}); torch.save({tensors}, 'weights.pth')"


def _sharded(index: Path) -> dict[str, Tensor]:
    """All tensors of the files beside an index, as Hugging Face splits large ones."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [index.parent / Path(name).name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SalcheckError(f"checkpoint '{index}' is no index of weight files (weight_map)") from error
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_weights(file).tensors
    return tensors


def _flat(content: Any, prefix: str = "", depth: int = 0) -> Any:
    """Pairs of a dotted name and a tensor, of a container and all containers in it."""
    if isinstance(content, Tensor):
        yield prefix, content
    elif depth < DEPTH and isinstance(content, (Mapping, list, tuple)):
        items = content.items() if isinstance(content, Mapping) else enumerate(content)
        for key, value in items:
            if depth or isinstance(key, str):
                yield from _flat(value, f"{prefix}.{key}" if prefix else str(key), depth + 1)


def _args(content: Mapping[str, Any]) -> dict[str, Any]:
    """What the trainer was told: Lightning's hyper parameters, `args` of timm's train.py and others, `arch`."""
    found: dict[str, Any] = {}
    for key in ("hyper_parameters", "args"):
        value = content.get(key)
        value = vars(value) if isinstance(value, Plain) else value
        found |= {str(name): one for name, one in value.items()} if isinstance(value, Mapping) else {}
    arch = content.get("arch")
    found |= {"arch": arch} if isinstance(arch, str) else {}
    return {name: value for name, value in found.items() if not isinstance(value, (Plain, Tensor))}


def first_line(error: BaseException) -> str:
    """An error of another library in one line of at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
