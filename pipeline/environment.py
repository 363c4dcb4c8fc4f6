"""Versions and machine, as a run, a report and a benchmark record them."""

import contextlib
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "numpy")


def available_cores() -> int:
    """Count the cores that this process may compute on; by how many there are, sums are rounded."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_environment(*others: str) -> dict[str, Any]:
    """Versions and machine, as environment.json has them.

    Args:
        others: packages whose versions are told too where they are installed.
    """
    return {
        "python": sys.version.split()[0],
        "packages": _versions(*PACKAGES, *others),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": available_cores(),
    }


def _versions(*packages: str) -> dict[str, str]:
    versions = {}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _processor() -> str:
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        for line in cpu_info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
