"""Images that a caller holds, one or many: paths, bytes, files, images of PIL, arrays, a column.

Nothing is decoded here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np

from footwork.errors import ImageError
from footwork.files.paths import path_at, user_path

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

ImageLike: TypeAlias = (
    "str | PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[np.uint8] | Mapping[str, Any]"
)
ImagesLike: TypeAlias = "ImageLike | Iterable[ImageLike]"
ImageSource: TypeAlias = "Path | bytes | Image.Image"
"""What `footwork.images.decoding.decode_image` takes."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://|data:", re.IGNORECASE)
_ALLOWED = (
    "must be a path, the bytes of a file, a file opened in binary mode, an image of PIL, or an "
    "array of uint8 of shape (H, W, 3), (H, W, 4) or (H, W)"
)


def held_images(images: ImagesLike) -> list[ImageSource]:
    """Images as they are decoded, in their order; one alone is a list of one.

    Args:
        images: Each a path, the bytes of a file, a file opened in binary mode (read from its
            start), an image of PIL, an array of uint8, (H, W, 3), (H, W, 4) or (H, W), or a mapping
            with `bytes` or `path`, as a data set of `datasets` stores them; one of these, or a
            list, an array (N, H, W, 3), or a column of a frame or of a data set. That of a data set
            is taken as its files were, undecoded.

    Raises:
        TypeError: One is none of these; its place, from 0, is told.
        ImageError: One is an address: nothing is fetched.
    """
    if (one := held_image(images)) is not None:
        return [one]
    if hasattr(images, "columns") or hasattr(images, "column_names"):
        kind = type(images).__name__
        raise TypeError(f"`images` must be one column, such as data['image'], got {kind}.")
    if type(getattr(images, "features", None)).__name__ == "Image":  # a column of `datasets`
        from datasets import Image

        column: Any = images
        rows = column.source.with_format(None)
        images = rows.cast_column(column.column_name, Image(decode=False))[column.column_name]
    no_list = isinstance(images, Mapping) or hasattr(images, "read")
    no_list |= getattr(images, "ndim", 1) in (2, 3)
    if no_list or not isinstance(images, Iterable):
        raise TypeError(f"An image {_ALLOWED}; or several in a list. Got {kind_of(images)}.")
    sources = []
    for place, image in enumerate(images):
        if (source := held_image(image)) is None:
            raise TypeError(
                f"An image {_ALLOWED}, got {kind_of(image, f' at {place} of `images`')}."
            )
        sources.append(source)
    return sources


def held_image(image: Any) -> ImageSource | None:
    """One image as it is decoded, as `held_images` says; None where it is none."""
    from PIL import Image

    if isinstance(image, Mapping):
        image = image.get("path") if image.get("bytes") is None else image["bytes"]
    if isinstance(image, (str, PathLike)):
        return _path(image) if isinstance(image, str) else Path(image)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, Image.Image):
        return image
    if hasattr(image, "encoding"):  # it is open as a text
        return None
    if hasattr(image, "read"):
        if image.seekable():
            image.seek(0)
        content = image.read()
        return content if isinstance(content, bytes) else None
    return _of_array(np.asarray(image)) if hasattr(image, "__array__") else None


def _path(named: str) -> Path:
    """Of a path, or of a `file:` address on this machine."""
    if not _ADDRESS.match(named):
        return user_path(named)
    if (path := path_at(named)) is None:
        reason = "it is an address, and nothing is fetched: save the image, and name its file"
        raise ImageError(named[:100], reason)
    return Path(path)


def write_image(image: bytes | Image.Image, place: Path) -> None:
    """Write an image in memory as a file that decodes to the same pixels, and equal ones equally.

    One of PIL that cannot be read is an `ImageError`.
    """
    if isinstance(image, bytes):
        place.write_bytes(image)
        return
    from footwork.images.decoding import decode_image

    decode_image(image).save(place, "PNG", compress_level=1)


def _of_array(pixels: NDArray[Any]) -> Image.Image | None:
    from PIL import Image

    is_one = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    return Image.fromarray(pixels) if is_one and pixels.size and pixels.dtype == np.uint8 else None


def kind_of(value: Any, place: str = "") -> str:
    """What is no image, where it stands, and how it becomes one where that is clear."""
    kind = type(value).__name__
    if hasattr(value, "encoding") and hasattr(value, "read"):
        return f"{kind}{place}, open as a text: open(path, 'rb') opens it in binary mode"
    if not (hasattr(value, "dtype") and hasattr(value, "shape")):
        return f"{kind}{place}"
    shape, hints = tuple(value.shape), []
    match shape:
        case (_, _, 1):
            hints.append("x[:, :, 0] is its one channel")
        case (1, _, _):
            hints.append("x[0] is its one channel")
        case (3 | 4, _, last) if last not in (3, 4):
            hints.append("x.transpose(1, 2, 0) has its channels last")
    if "float" in str(value.dtype):
        hints.append("(255 * x).astype('uint8') has the bytes of values from 0 to 1")
    hint = f": of an array x of numpy, {', and '.join(hints)}" if hints else ""
    return f"an array of {value.dtype}, {shape}{place}{hint}"
