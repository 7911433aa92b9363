"""Archives of published data sets, compared with their published checksums."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from terraloom.errors import InputError
from terraloom.progress import meter

_LINE: Final = re.compile(r"([0-9a-fA-F]{32}) [ *](.+)")
_PIECE: Final = 1 << 22


def check_archives(folder: Path, published: Mapping[str, str]) -> dict[str, str]:
    """MD5 of every archive in a folder that a checksum is published for.

    Args:
        folder: where the archives lie; those that are not there are left unchecked.
        published: hexadecimal MD5 by file name.

    Returns:
        MD5 by file name, each equal to the published one; empty where no archive is there.

    Raises:
        InputError: archives differ; all of them are named.
    """
    paths = [folder / name for name in sorted(published) if (folder / name).is_file()]
    mebibytes = sum(path.stat().st_size for path in paths) >> 20
    found = {}
    with meter("checking archives", mebibytes, "MiB") as progress:
        for path in paths:
            # MD5 is what the publisher gives: it tells damage, not a forgery.
            digest = hashlib.md5(usedforsecurity=False)
            with open(path, "rb") as handle:
                while piece := handle.read(_PIECE):
                    digest.update(piece)
                    progress.advance(len(piece) >> 20)
            found[path.name] = digest.hexdigest()
    wrong = [name for name, md5 in found.items() if md5 != published[name].lower()]
    if wrong:
        raise InputError(
            f"{len(wrong)} of {len(found)} archives in {folder} differ from their published MD5: "
            + "; ".join(f"{n} has {found[n]}, published is {published[n]}" for n in wrong)
            + ". Download them again; nothing was imported."
        )
    return found


def read_md5_file(path: Path) -> dict[str, str]:
    """MD5 by file name from a list as `md5sum` writes it.

    Raises:
        InputError: it is missing, or a line is of another kind.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the list of checksums {path} cannot be read: {error}.") from error
    found = {}
    for line in filter(None, lines):
        match = _LINE.fullmatch(line)
        if match is None:
            raise InputError(
                f"{path.name} holds the line {line[:60]!r}; expected lines as md5sum writes them: "
                "32 hexadecimal digits, two spaces, file name."
            )
        found[Path(match[2]).name] = match[1].lower()
    return found
