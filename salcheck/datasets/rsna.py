"""RSNA Pneumonia Detection Challenge: chest X-rays with boxes around opacities, as distributed on Kaggle.

Read are `stage_2_train_images/*.dcm`, `stage_2_train_labels.csv` (a row per box) and, where it is there,
`stage_2_detailed_class_info.csv` (https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/data).
Shih et al. 2019, Radiology: Artificial Intelligence 1(1).
"""

from collections import defaultdict
from pathlib import Path

from salcheck.datasets import Dataset, Labels, Region
from salcheck.datasets._annotated import Corners, Picture, require_paths
from salcheck.datasets._chest import corners, dicom_dataset, read_table, two_classes
from salcheck.datasets._dicom import dicom_size
from salcheck.datasets._files import require_folder
from salcheck.errors import SalcheckError
from salcheck.naming.words import one_line

IMAGES, TABLE, DETAILS = "stage_2_train_images", "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
LAYOUT = f"{IMAGES}/*.dcm with {TABLE}"
FINDINGS = ("lung opacity", "opacity", "pneumonia")
NEITHER = "No Lung Opacity / Not Normal"


def open_dataset(root: Path | None, labels: Labels, seed: int) -> Dataset:
    """The training images, which alone have public labels: the finding where a patient has boxes, else health.

    Patients who are neither (other findings than opacity) are left out where the details name them; without the details
    they count as healthy. Regions are the boxes. Raises SalcheckError for a folder or table that is incomplete or
    broken, and for a model that does not tell a finding from none.
    """
    root = require_folder(root, LAYOUT)
    require_paths(root, (IMAGES, TABLE), LAYOUT)
    classes = two_classes(labels, "rsna", FINDINGS)
    boxes, faults = _boxes(root / TABLE)
    left_out = _neither(root / DETAILS) if (root / DETAILS).exists() else set()
    marks = {patient: found for patient, found in boxes.items() if patient not in left_out}
    files = list((root / IMAGES).glob("*.dcm"))
    if not any(path.stem in marks for path in files):
        raise SalcheckError(
            f"{TABLE} names none of the {len(files)} images of '{root / IMAGES}': expected are {LAYOUT}"
        )

    def regions(path: Path) -> list[Region]:
        found = marks[path.stem]
        picture = Picture(path, dicom_size(path) if found else (0, 0))
        return [Region(classes[1], picture.box(one, f"{TABLE}, {path.stem}")) for one in found]

    return dicom_dataset("rsna", root, files, marks, classes, regions, faults)


def _boxes(table: Path) -> tuple[dict[str, list[Corners]], dict[str, str]]:
    """The boxes of each patient, none for one without opacity, and what is wrong with a patient's rows."""
    found: dict[str, list[Corners]] = defaultdict(list)
    faults: dict[str, str] = {}
    for patient, *cells, target in read_table(table, "patientId", "x", "y", "width", "height", "Target"):
        found[patient] += []
        try:
            if target not in ("0", "1"):
                raise SalcheckError(f"'{table}' has the Target '{one_line(target)[:40]}': 0 or 1 is expected")
            found[patient] += [corners(cells, table)] if target == "1" else []
        except SalcheckError as error:
            faults[patient] = str(error)
    return dict(found), faults


def _neither(table: Path) -> set[str]:
    return {patient for patient, kind in read_table(table, "patientId", "class") if kind == NEITHER}
