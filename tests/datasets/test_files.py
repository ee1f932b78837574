"""Files that an operating system does not give: a pipe, a folder that cannot be listed, a disk that fails."""

import errno
import os

import pytest

from salcheck.datasets import _files
from salcheck.datasets._annotated import picture_of, read_indices, read_text
from salcheck.datasets._chest import read_table
from salcheck.datasets._dicom import read_dicom
from salcheck.datasets._files import fingerprint, images_below
from salcheck.datasets._images import read_image
from salcheck.datasets._pickles import read_pickle
from salcheck.datasets._xml import read_annotation
from salcheck.errors import SalcheckError
from tests.makers import save_images


@pytest.mark.parametrize(
    "read",
    [
        read_image,
        read_dicom,
        read_text,
        read_annotation,
        picture_of,
        lambda path: read_indices(path, None),
        lambda path: read_table(path, "a"),
        lambda path: read_pickle(path, "a"),
    ],
)
def test_a_pipe_in_the_place_of_a_file_is_one_line_and_never_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SalcheckError, match="a pipe or a device and no file") as caught:
        read(tmp_path / "pipe")
    assert "\n" not in str(caught.value)


def test_a_file_that_the_disk_does_not_give_has_a_fingerprint_and_is_listed(tmp_path, monkeypatch):
    images = save_images(tmp_path, classes=1, each=2)
    whole = fingerprint(images / "0" / "0.png")

    def broken(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(_files, "open_file", broken)
    assert fingerprint(images / "0" / "0.png") == f"{whole.partition('-')[0]}-00000000"
    assert fingerprint(images / "0" / "gone.png") == "0-00000000"
    assert len(images_below(images)) == 2


def test_a_folder_that_cannot_be_listed_is_one_line(tmp_path, monkeypatch):
    """Its images would be missing without a word."""
    images, real = save_images(tmp_path, classes=2, each=2), os.scandir

    def broken(place):
        if str(place).endswith("1"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", broken)
    with pytest.raises(SalcheckError, match=r"cannot list the folder '.*1': Permission denied"):
        images_below(images)
