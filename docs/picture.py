"""The picture of the README: two pictures that `salcheck explain` wrote, one above the other, in 256 colours.

salcheck demo
salcheck explain salcheck-demo/scene.png --arch scenes --method case,gradcam
python docs/picture.py scene-case.png scene-gradcam.png
"""

import sys
from pathlib import Path

from PIL import Image

FILE = Path(__file__).parent / "pictures" / "scene.png"


def main() -> None:
    parts = [Image.open(name).convert("RGB") for name in sys.argv[1:]]
    picture = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        picture.paste(part, (0, top))
        top += part.height
    picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=2).save(FILE, optimize=True)


if __name__ == "__main__":
    main()
