"""Bottleneck networks as deep as a test needs."""

import pytest

from pipeline.config.architectures import ARCHITECTURES, ResidualArchitecture


@pytest.fixture
def small_networks(monkeypatch):
    """Networks like ResNet-50, ResNet-50-D and ResNeXt-50, of three blocks."""
    for name, settings in (
        ("small", {}),
        ("small_d", {"shortcut": "pooling", "large_stem": "deep"}),
        ("small_x", {"groups": 32, "inner_factor": 2}),
    ):
        architecture = ResidualArchitecture((2, 1), "bottleneck", **settings)
        monkeypatch.setitem(ARCHITECTURES, name, architecture)
