"""What the check of a folder found out, kept for the files that have not changed since.

A file is the same where its path in the folder, its size, its time of change (mtime, in nanoseconds), its
owner and its mode are. Some are read all the same each time: where one differs, nothing is believed.
"""

import contextlib
import hashlib
import os
import stat
import struct
import time
from collections.abc import Sequence

import numpy as np

from pipeline.data.class_names import shown
from pipeline.data.decoding.deep_range import DeepRange
from pipeline.files.kept import Kept

DIGEST_BYTES = 16
SAMPLE = 16
"""As many files are read each time, spread over all, to see whether what was kept is of them."""

UNSETTLED_NS = 2 * 10**9
"""A file that changed so shortly before may change again within a tick of its clock, which on FAT is 2 s:
what is found of it is not kept."""

COLUMNS = ("digests", "pixels", "reasons", "ranges")


class Findings:
    """What is known of files, row i of each column about file i.

    Attributes:
        known: bool [files], whether it was checked.
        lasting: bool [files], whether what was found is the file's own and may be kept.
        digests: uint8 [files, 16], the BLAKE2b hash of its content, zero where there is no image.
        pixels: uint8 [files, 16], of what it decodes to, zero where there is no image.
        reasons: int32 [files], why it is no image, an index into `texts`; 0, an empty one, of images.
        ranges: int32 [files, 2], least and largest sample of a 16-bit image; -1 of others.
        texts: the reasons.
    """

    def __init__(self, files: int) -> None:
        self.known, self.lasting = np.zeros(files, bool), np.zeros(files, bool)
        self.digests, self.pixels = (np.zeros((files, DIGEST_BYTES), np.uint8) for _ in range(2))
        self.reasons, self.ranges = np.zeros(files, np.int32), np.full((files, 2), -1, np.int32)
        self.texts = [""]

    def put_image(self, row: int, digest: bytes, pixels: bytes, deep: DeepRange | None) -> None:
        """Note that a file is an image."""
        self.digests[row] = np.frombuffer(digest, np.uint8)
        self.pixels[row] = np.frombuffer(pixels, np.uint8)
        if deep:
            self.ranges[row] = deep
        self.known[row] = self.lasting[row] = True

    def put_problem(self, row: int, reason: str, *, lasting: bool) -> None:
        """Note why a file is no image, and whether that lasts as long as the file is as it is."""
        if reason not in self.texts:
            self.texts.append(reason)
        self.reasons[row] = self.texts.index(reason)
        self.known[row], self.lasting[row] = True, lasting

    @property
    def problems(self) -> dict[int, str]:
        """Row -> why it is no image."""
        return {int(row): self.texts[self.reasons[row]] for row in np.flatnonzero(self.reasons)}

    @property
    def deep_ranges(self) -> dict[int, DeepRange]:
        """Row -> least and largest sample, for 16-bit images."""
        return {
            int(row): DeepRange(*self.ranges[row].tolist()) for row in np.flatnonzero(self.ranges[:, 1] >= 0)
        }


class KeptFindings:
    """The findings about one folder, as they are kept from command to command.

    Args:
        root: the folder.
        paths: its files, relative to it.
        version: of what finds them, as of `version_of`.
    """

    def __init__(self, root: bytes, paths: Sequence[bytes], version: str) -> None:
        self.root, self.paths = root, paths
        self.identities, self.sizes, self.settled = _identify(root, paths)
        self.kept = Kept("folder", root, version)

    def recall(self) -> Findings:
        """Return what was kept about the files as they are now, if a sample of them bears it out."""
        findings = Findings(len(self.paths))
        arrays = self.kept.read()
        if arrays is None:
            return findings
        rows, places = _match(self.identities, arrays["identities"])
        for name in COLUMNS:
            # One at a time is held twice.
            getattr(findings, name)[rows] = arrays.pop(name)[places]
        findings.texts = arrays["texts"].tolist()
        findings.known[rows] = findings.lasting[rows] = True
        changed = self._find_changed(findings)
        if changed is None:
            return findings
        where = shown(os.path.join(self.root, changed))
        print(f"{where} is another file with the size and time of before: the whole folder is checked again")
        return Findings(len(self.paths))

    def _find_changed(self, findings: Findings) -> bytes | None:
        """Read a sample of the images that are known; name one that is another now."""
        images = np.flatnonzero(findings.known & (findings.reasons == 0))
        for row in images[np.linspace(0, len(images) - 1, min(SAMPLE, len(images))).astype(int)]:
            digest = b""
            with contextlib.suppress(OSError), open(os.path.join(self.root, self.paths[row]), "rb") as file:
                digest = hashlib.blake2b(file.read(), digest_size=DIGEST_BYTES).digest()
            if digest != findings.digests[row].tobytes():
                return self.paths[row]
        return None

    def keep(self, findings: Findings, recalled: np.ndarray) -> None:
        """Keep what lasts, where there is more of it than was `recalled` (bool [files])."""
        lasting = findings.known & findings.lasting & self.settled
        if not (lasting & ~recalled).any():
            return
        columns = {name: getattr(findings, name)[lasting] for name in COLUMNS}
        self.kept.write(
            {"identities": self.identities[lasting], "texts": np.array(findings.texts), **columns}
        )


def _identify(root: bytes, paths: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Look at files without opening them.

    Returns:
        uint64 [files, 2], a hash of path, size, mtime and who may read it; the sizes, int64 [files]; bool
        [files], whether it is a regular file that did not change in the last seconds.
    """
    identities = bytearray(16 * len(paths))
    sizes, settled = np.zeros(len(paths), np.int64), np.zeros(len(paths), bool)
    before = time.time_ns() - UNSETTLED_NS
    for row, path in enumerate(paths):
        try:
            found = os.stat(root + b"/" + path)
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(found.st_mode):
            may_read = (found.st_mode, found.st_uid, found.st_gid)
            facts = struct.pack("<qqLLL", found.st_size, found.st_mtime_ns, *may_read)
            identities[16 * row : 16 * row + 16] = hashlib.blake2b(facts + path, digest_size=16).digest()
            sizes[row], settled[row] = found.st_size, found.st_mtime_ns < before
    return np.frombuffer(identities, np.uint64).reshape(-1, 2), sizes, settled


def _match(now: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows of `now` that are among `kept`, uint64 [n, 2] both; return rows and their places."""
    if np.array_equal(now, kept):
        return np.arange(len(now)), np.arange(len(now))
    if not len(kept):
        return np.arange(0), np.arange(0)
    order = np.argsort(kept[:, 0])
    places = order[np.searchsorted(kept[:, 0], now[:, 0], sorter=order).clip(max=len(kept) - 1)]
    rows = np.flatnonzero((kept[places] == now).all(axis=1))
    return rows, places[rows]
