"""Images as files without axes or resampling: a pixel in, a pixel out, the same bytes each time.

Legend: N images, R rows, C columns of images, H × W pixels.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcli.report.output import write_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bytes = NDArray[np.uint8]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {2: 0, 3: 2}
"""Array dimensions → the PNG's colour type: grey, RGB."""


def as_images(images: object) -> Floats:
    """Read images as floats in [0, 1]: uint8 is divided by 255, floats are clipped, NaN is black.

    Args:
        images: (N, H, W) or (R, C, H, W), anything that numpy reads.

    Raises:
        ValueError: another shape, or no image at all.
    """
    import numpy as np

    raw = np.asarray(images)
    if raw.ndim not in (3, 4) or 0 in raw.shape:
        raise ValueError(f"pictures have the shape (N, H, W) or (R, C, H, W), not {raw.shape}")
    scaled = raw / 255.0 if raw.dtype == np.uint8 else raw.astype(np.float64)
    return np.clip(np.nan_to_num(scaled, nan=0.0), 0.0, 1.0)


def as_rows(images: object, *, columns: int = 0) -> Floats:
    """Lay images out as (R, C, H, W); the last row is filled up with NaN.

    Args:
        images: (N, H, W), cut into rows, or (R, C, H, W), left as it is.
        columns: C for (N, H, W); as square as can be where 0.
    """
    import numpy as np

    pictures = as_images(images)
    if pictures.ndim == 4:
        return pictures
    N, H, W = pictures.shape
    C = columns or math.ceil(math.sqrt(N))
    R = math.ceil(N / C)
    rows = np.full((R * C, H, W), np.nan)
    rows[:N] = pictures
    return rows.reshape(R, C, H, W)


def tile(images: object, *, columns: int = 0, gap: int = 0) -> Floats:
    """Join images into one (R·H + gaps, C·W + gaps); gaps and missing images are NaN."""
    return join_rows(as_rows(images, columns=columns), gap=gap)


def join_rows(rows: Floats, *, gap: int) -> Floats:
    """Join (R, C, H, W) into one picture like `tile`, leaving missing images missing."""
    import numpy as np

    R, C, H, W = rows.shape
    joined = np.full((R * (H + gap) - gap, C * (W + gap) - gap), np.nan)
    for r in range(R):
        for c in range(C):
            top, left = r * (H + gap), c * (W + gap)
            joined[top : top + H, left : left + W] = rows[r, c]
    return joined


def as_bytes(pixels: Floats, *, missing: float = 0.0) -> Bytes:
    """Round floats in [0, 1] to uint8; NaN becomes `missing`."""
    import numpy as np

    return np.rint(np.nan_to_num(pixels, nan=missing) * 255.0).astype(np.uint8)


def encode_png(image: Bytes) -> bytes:
    """Encode uint8 (H, W) as a grey PNG or (H, W, 3) as an RGB one: no metadata, 8 bits, lossless.

    Raises:
        ValueError: another shape or type.
    """
    import numpy as np

    if image.dtype != np.uint8 or image.ndim not in COLOUR_TYPES or 0 in image.shape:
        raise ValueError(f"a PNG is made of uint8 (H, W) or (H, W, 3), not {image.shape}")
    if image.ndim == 3 and image.shape[2] != 3:
        raise ValueError(f"a colour PNG is made of (H, W, 3), not {image.shape}")
    H, W = image.shape[:2]
    header = struct.pack(">IIBBBBB", W, H, 8, COLOUR_TYPES[image.ndim], 0, 0, 0)
    filters = np.zeros((H, 1), dtype=np.uint8)
    lines = np.hstack([filters, image.reshape(H, -1)]).tobytes()
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines, 9)) + _chunk(b"IEND", b"")
    return PNG_SIGNATURE + body


def save_png(path: Path, image: Bytes) -> Path:
    """Write uint8 (H, W) or (H, W, 3) as a PNG of exactly these pixels; return its absolute path.

    Raises:
        RunFailed: `path` cannot be written.
    """
    return write_file(path, encode_png(image))


def save_npz(path: Path, **arrays: object) -> Path:
    """Write arrays as one compressed npz, the same bytes for the same values.

    Raises:
        RunFailed: `path` cannot be written.
    """
    import numpy as np

    buffer = io.BytesIO()
    # numpy's stub knows its own flag among the keywords, and not the arrays.
    save: Any = np.savez_compressed
    save(buffer, **{name: np.asarray(value) for name, value in arrays.items()})
    return write_file(path, buffer.getvalue())


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
