"""Where the sets of TensorFlow Datasets lie on this machine."""

import os
from pathlib import Path


def tfds_folder() -> Path:
    """Return the folder of TFDS_DATA_DIR, without it ~/tensorflow_datasets.

    A home directory that there is not stays as it is written.
    """
    return Path(os.path.expanduser(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")))
