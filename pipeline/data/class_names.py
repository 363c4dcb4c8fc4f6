"""Names of classes: that each can be told from the others, and how they are listed."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.errors import UserError

if TYPE_CHECKING:
    import numpy as np

MAX_LISTED, MAX_NAME = 10, 40
"""Most classes in a line, and most characters of a name there."""


def verify_class_names(names: Sequence[bytes], of: str) -> None:
    """Hold names to being told apart by who reads them.

    Raises:
        UserError: two are the same in print (composed and decomposed letters, other spaces,
            characters without a shape), or one shows nothing; the message has their bytes.
    """
    first: dict[str, bytes] = {}
    for name in names:
        printed = _printed(shown(name))
        if not printed:
            raise UserError(f"the name of a class must show something; received {name!r} in {of}")
        if printed in first:
            raise UserError(
                f"names of classes must differ in print; received {first[printed]!r} and {name!r} in {of}"
            )
        first[printed] = name


BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
"""What has no shape beside control and format characters: Unicode's Default_Ignorable_Code_Point, and
the empty Braille cell."""


def _printed(name: str) -> str:
    """What is seen of a name: its letters composed, without what has no shape, in single spaces."""
    shapes = (c for c in BLANK.sub("", name) if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf"))
    return unicodedata.normalize("NFC", " ".join("".join(shapes).split()))


def shown(path: bytes) -> str:
    """A path as text that can always be printed and written, whatever its bytes are."""
    return path.decode(errors="backslashreplace")


def as_label(name: str) -> str:
    """A name as labels.txt has it, where runs of spaces are one."""
    return " ".join(name.split())


def on_a_terminal(name: str) -> str:
    """A name without what a terminal would obey, and cut where it is long."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return safe if len(safe) <= MAX_NAME else f"{safe[: MAX_NAME - 3]}..."


def list_classes(names: Sequence[str], labels: "np.ndarray") -> str:
    """Write each class with its images, as in `cat 12, dog 7`; of many classes the first.

    Args:
        names: label -> name.
        labels: int64 [images].
    """
    found = Counter(labels.tolist())
    counts = [found[label] for label in range(len(names))]
    listed = [f"{on_a_terminal(name)} {count:,}" for name, count in zip(names, counts, strict=True)]
    if len(listed) <= MAX_LISTED:
        return ", ".join(listed)
    rest = f"and {len(listed) - MAX_LISTED:,} more, of {min(counts):,} to {max(counts):,} images each"
    return ", ".join([*listed[:MAX_LISTED], rest])
