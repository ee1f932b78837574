"""Objects and their boxes from the XML of PASCAL VOC, in which ILSVRC's boxes are written too."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from salcheck.datasets._annotated import Corners
from salcheck.errors import SalcheckError
from salcheck.naming.files import read_file
from salcheck.naming.words import one_line

MAX_BYTES = 1_000_000  # published ones have up to 30,000


@dataclass(frozen=True)
class Annotation:
    """size: width and height of the picture. objects: name and xmin, ymin, xmax, ymax as written, in their order.
    text: the file's bytes.
    """

    path: Path
    size: tuple[int, int]
    objects: Sequence[tuple[str, Corners]]
    text: bytes

    def require_size(self, size: tuple[int, int]) -> None:
        """Raises SalcheckError where the picture is of another size than the boxes were drawn for."""
        if self.size != size:
            raise SalcheckError(
                f"'{self.path}' is of a picture of {self.size[0]}x{self.size[1]} pixels, which has {size[0]}x{size[1]}"
            )


def read_annotation(path: Path) -> Annotation:
    """All objects of a picture, those marked difficult too, and not their parts (heads, hands, feet).

    Raises SalcheckError where the file is missing, no well-formed XML, too large, has a document type (nothing of the
    kind is published, and entities are how a small file becomes a huge one), or lacks a size, a name or a number.
    """
    text = read_bytes(path)
    root = _parse(text, path)
    width, height = (int(_number(root, f"size/{side}", path)) for side in ("width", "height"))
    found = [(_text(one, "name", path), _corners(one, path)) for one in root.findall("object")]
    return Annotation(path, (width, height), found, text)


def read_bytes(path: Path) -> bytes:
    """The bytes of an XML file; raises SalcheckError where it is missing or too large."""
    try:
        text = read_file(path, MAX_BYTES + 1)
    except OSError as error:
        raise SalcheckError(f"cannot read '{path}': {one_line(error.strerror or error)}") from error
    if len(text) > MAX_BYTES:
        raise SalcheckError(f"'{path}' is too large for a picture's annotation: the limit is {MAX_BYTES} bytes")
    return text


def _parse(text: bytes, path: Path) -> Element:
    def refuse(*declared: object) -> None:
        raise SalcheckError(f"'{path}' declares a document type, which may hide entities: plain XML is expected")

    tree, parser = TreeBuilder(), expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = tree.start
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.data
    try:
        parser.Parse(text, True)
        return tree.close()
    except (expat.ExpatError, ValueError, LookupError) as error:  # the latter two for an encoding
        raise SalcheckError(f"'{path}' is no XML that can be read ({one_line(error)}): fetch it again") from error


def _corners(one: Element, path: Path) -> Corners:
    x0, y0, x1, y1 = (_number(one, f"bndbox/{side}", path) for side in ("xmin", "ymin", "xmax", "ymax"))
    return x0, y0, x1, y1


def _number(element: Element, place: str, path: Path) -> float:
    text = _text(element, place, path)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise SalcheckError(
            f"'{path}' has '{one_line(text[:40])}' as <{place}> of an <{element.tag}>: a number is needed"
        )
    return number


def _text(element: Element, place: str, path: Path) -> str:
    text = (element.findtext(place) or "").strip()
    if not text:
        raise SalcheckError(f"'{path}' has no <{place}> in an <{element.tag}>: it is no annotation as PASCAL VOC's")
    return text
