"""Pictures of the examples that are kept in docs/pictures, for builds that run nothing.

They are made anew by `ESIJAX_EXAMPLE_PICTURES=docs/pictures pytest tests/test_examples.py`.
"""

from pathlib import Path

from PIL import Image

PICTURES = Path(__file__).parent / "pictures"
SIZE = (400, 280)  # of sphinx-gallery's thumbnails
MARK = ".. GENERATED FROM PYTHON SOURCE LINES"


def keep_thumbnails(app):
    """Put thumbnails where sphinx-gallery leaves those that it finds, unless a run made newer."""
    folder = Path(app.srcdir) / "auto_examples" / "images" / "thumb"
    folder.mkdir(parents=True, exist_ok=True)
    for picture in sorted(PICTURES.glob("plot_*[!-][!0-9].png")):  # the first of each example
        thumb = folder / f"sphx_glr_{picture.stem}_thumb.png"
        if thumb.exists() and thumb.stat().st_mtime > picture.stat().st_mtime:
            continue
        image = Image.open(picture).convert("RGB")
        image.thumbnail(SIZE)
        page = Image.new("RGB", SIZE, "white")
        page.paste(image, tuple((a - b) // 2 for a, b in zip(SIZE, image.size, strict=True)))
        page.save(thumb)


def show_kept(app, docname, source):
    """Show the kept pictures above the last words of an example that was not run."""
    name = docname.removeprefix("auto_examples/")
    if name == docname or not name.startswith("plot_"):
        return
    if (Path(app.srcdir) / "auto_examples" / "images" / f"sphx_glr_{name}_001.png").exists():
        return
    kept = sorted(PICTURES.glob(f"{name}*.png"), key=lambda path: path.stem)
    lines = "".join(f".. image:: /pictures/{p.name}\n   :alt: {name}\n\n" for p in kept)
    at = source[0].rfind(MARK)
    source[0] = f"{source[0][:at]}{lines}{source[0][at:]}"
