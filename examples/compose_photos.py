"""Make the derived sample photos from the public-domain originals: `python examples/compose_photos.py`."""

from pathlib import Path

from PIL import Image, ImageOps

PHOTOS = Path(__file__).parent / "photos"
ORIENTATION = 0x0112


def group() -> Image.Image:
    """Put both portraits side by side at several sizes, some mirrored, some grey: a crowd."""
    astronaut = Image.open(PHOTOS / "astronaut.png").convert("RGB").crop((110, 0, 350, 300))
    admiral = Image.open(PHOTOS / "grace_hopper.jpg").convert("RGB").crop((90, 10, 430, 435))
    canvas = Image.new("RGB", (1280, 853), (96, 104, 112))
    left, top = 0, 0
    for row, height in enumerate((330, 250, 160, 113)):
        left, person = 0, row
        while left < canvas.width:
            source = (astronaut, admiral)[person % 2]
            if person % 3 == 1:
                source = ImageOps.mirror(source)
            if person % 5 == 4:
                source = ImageOps.grayscale(source).convert("RGB")
            width = round(source.width * height / source.height)
            canvas.paste(source.resize((width, height), Image.Resampling.LANCZOS), (left, top))
            left, person = left + width, person + 1
        top += height
    return canvas


def main() -> None:
    """Write `group.jpg` and `sideways.jpg` (EXIF orientation 6)."""
    group().save(PHOTOS / "group.jpg", quality=88)
    admiral = Image.open(PHOTOS / "grace_hopper.jpg").convert("RGB")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    # stored a quarter turn to the left; the orientation tells viewers to turn it back
    admiral.transpose(Image.Transpose.ROTATE_90).save(PHOTOS / "sideways.jpg", quality=90, exif=exif)


if __name__ == "__main__":
    main()
