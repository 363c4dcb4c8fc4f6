"""Where sets of TensorFlow Datasets are looked for."""

from pathlib import Path

import pytest

from pipeline.config.tfds_folder import tfds_folder


@pytest.mark.parametrize(
    ("variable", "folder"),
    [
        (None, "/home/me/tensorflow_datasets"),
        ("/data", "/data"),
        ("~/sets", "/home/me/sets"),
        ("~nobody_here/sets", "~nobody_here/sets"),
    ],
)
def test_the_variable_or_tfds_own_default(monkeypatch, variable, folder):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    if variable:
        monkeypatch.setenv("TFDS_DATA_DIR", variable)
    assert tfds_folder() == Path(folder)
