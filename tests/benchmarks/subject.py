"""What benchmarks run on: a ResNet-50 with real photographs, or with `--tiny` the built-in model with its scenes."""

import argparse
from pathlib import Path

from salcheck.datasets import Dataset
from salcheck.inputs.opening import open_data
from salcheck.network.loading import Model, load_model


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark that needs a model; `--tiny` only shows that it runs."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--shared", type=Path, help="folder of real weights and photographs")
    made.add_argument("--tiny", action="store_true", help="a few scenes and one round: does it run at all?")
    return made


def subject(options: argparse.Namespace, dataset: str, photographs: str) -> tuple[Model, Dataset]:
    """The model, and photographs of `photos/<photographs>` in the shared folder; or what is built in."""
    if options.tiny:
        model = load_model("scenes", device="cpu")
        return model, open_data("scenes", None, model, 0)
    if not (options.shared and options.shared.is_dir()):
        raise SystemExit(f"no folder {options.shared}: give real weights and photographs with --shared, or say --tiny")
    model = load_model(f"local-dir:{options.shared / 'models' / 'resnet50.pqf_in1k'}", device="cpu")
    return model, open_data(dataset, options.shared / "photos" / photographs, model, 0)
