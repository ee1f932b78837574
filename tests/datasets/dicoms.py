"""Writes small DICOM files with pydicom."""

import io

import numpy as np
from PIL import Image
from pydicom import dcmwrite
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit


def dicom(pixels, syntax=ExplicitVRLittleEndian, **elements):
    """A data set of these pixels (H, W) or (H, W, 3); an element given as None is left out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    meta.TransferSyntaxUID = syntax
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.PatientID, made.Modality = "somebody", "CR"
    bits = 8 * pixels.dtype.itemsize
    described = {
        **{"Rows": pixels.shape[0], "Columns": pixels.shape[1], "SamplesPerPixel": 3 if pixels.ndim == 3 else 1},
        **{"PhotometricInterpretation": "RGB" if pixels.ndim == 3 else "MONOCHROME2", "PlanarConfiguration": 0},
        **{"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1},
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
        **elements,
    }
    for name, value in described.items():
        if value is not None:
            setattr(made, name, value)
    if "PixelData" in made:
        made["PixelData"].is_undefined_length = syntax.is_transfer_syntax and syntax.is_encapsulated
        made["PixelData"].VR = "OB" if made.BitsAllocated == 8 else "OW"
    return made


def save(path, pixels, **elements):
    path.parent.mkdir(parents=True, exist_ok=True)
    made = dicom(pixels, **elements)
    unknown = made.file_meta.TransferSyntaxUID.is_private
    dcmwrite(path, made, enforce_file_format=True, **({"implicit_vr": False, "little_endian": True} if unknown else {}))
    return path


def save_jpeg(path, image: Image.Image, **elements):
    """A file as RSNA's and SIIM's are: eight bits, compressed as JPEG baseline."""
    coded = io.BytesIO()
    image.save(coded, "JPEG", quality=95)
    save(path, np.asarray(image), syntax=JPEGBaseline8Bit, PixelData=encapsulate([coded.getvalue()]), **elements)
    return path, Image.open(io.BytesIO(coded.getvalue()))
