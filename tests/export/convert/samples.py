"""What the tests of a .tflite file's layout share: images, and where its buffers lie."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)


def buffers(content: bytes) -> list[tuple[int, bytes]]:
    """Where each buffer that holds anything begins in the file, and what it holds."""
    model = schema.Model.GetRootAsModel(content, 0)
    found = []
    for place in range(model.BuffersLength()):
        buffer = model.Buffers(place)
        if size := buffer.DataLength():
            # A table's fields are found through its vtable; that of `data` is the first, at 4.
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            found.append((start, content[start : start + size]))
    return found
