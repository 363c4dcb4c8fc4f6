"""How a run's start, memory and steps grow with the number of its images.

    python -m benchmarks.scale --rows 1000 10000 100000 --linked-rows 1000000

JPEGs of 8 x 8 pixels in 100 class folders: what grows with the rows of a table is not their pixels. For each
number of rows, in processes of its own: the first start, which checks every file, and the next; the memory
that the table adds, and most while it is made; a batch from the first step on, and the first batch of a run
that is resumed in the middle of its hundredth epoch.

Of `--linked-rows` the files are names of a thousand images, and kept beforehand is what a check of so many
different images would have found: all but the first start, without its minutes.
"""

import argparse
import io
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measure import CORES, count, own_process
from pipeline.console.progress import Progress
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.environment import describe_environment
from pipeline.files.whole import write_figure

SIDE, CLASSES, BATCH_SIZE, BATCHES = 8, 100, 128, 50
LINKED = 1000
"""Images that `--linked-rows` are names of."""

MEBIBYTE = 2**20
SETTLED_SECONDS = 2.5
"""What changed within 2 s before a check is not kept."""

FIGURES = {
    "first_start_s": "first start, s",
    "next_start_s": "next start, s",
    "table_mib": "memory of the table, MiB",
    "peak_mib": "most memory at a start, MiB",
    "batch_ms": "a batch, ms",
    "resume_s": "first batch after a resume, s",
}


def write_images(folder: Path, rows: int) -> None:
    """Write so many JPEGs, no two of the same pixels."""
    pixels = np.full((SIDE, SIDE, 3), 128, np.uint8)
    with Progress(rows, "writing images", "images") as progress:
        for row in range(rows):
            path = folder / f"class_{row % CLASSES:02d}" / f"image_{row:07d}.jpg"
            if row < CLASSES:
                path.parent.mkdir(parents=True)
            # Its number in binary, a block of 2 x 2 pixels a digit and channel, which JPEG keeps.
            digits = 40 * np.array([row >> place & 1 for place in range(24)], np.uint8).reshape(4, 2, 3)
            pixels[:, : SIDE // 2] = 100 + digits.repeat(2, axis=0).repeat(2, axis=1)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0)
            path.write_bytes(file.getvalue())
            progress.update(1)


def link_images(folder: Path, rows: int) -> None:
    """Give a thousand images so many names, in another folder of each class, and keep that all are whole."""
    drawn = folder.with_name("drawn")
    write_images(drawn, LINKED)
    originals = sorted(drawn.glob("*/*.jpg"))
    for original in originals:
        os.utime(original, (0, 0))  # long ago, so that what is found of them is kept
    for row in range(rows):
        path = folder / f"class_{row % CLASSES:02d}" / f"image_{row:07d}.jpg"
        if row < CLASSES:
            path.parent.mkdir(parents=True)
        os.link(originals[row % LINKED], path)
    with own_process() as process:
        process.submit(_keep_findings, folder).result()


def _keep_findings(folder: Path) -> None:
    """Keep what a check would have found of so many different images."""
    load_tensorflow_quietly()
    from pipeline.data.folders.check import check_file, kept_findings
    from pipeline.data.folders.findings import SAMPLE
    from pipeline.data.folders.folder import list_files
    from pipeline.data.folders.layout import find_class_folders, real_path

    root = real_path(folder)
    paths = list_files(root, find_class_folders(root)).paths
    kept = kept_findings(root, paths)
    findings = kept.recall()
    columns = np.random.default_rng(0).integers(0, 256, (2, len(paths), 16), np.uint8)
    findings.digests, findings.pixels = columns
    # What is read each time to see whether the rest is to be believed.
    for row in np.linspace(0, len(paths) - 1, SAMPLE).astype(int):
        verdict = check_file(os.path.join(root, paths[row]))
        findings.digests[row] = np.frombuffer(verdict.digest, np.uint8)
    findings.known[:] = findings.lasting[:] = True
    kept.keep(findings, np.zeros(len(paths), bool))


def start(folder: Path) -> dict[str, float]:
    """Start on a folder: seconds, and MiB that the table adds while it is made and after."""
    load_tensorflow_quietly()
    import psutil

    from pipeline.data.folders.folder import load_folder

    process = psutil.Process()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here (proc(5))
    before, started = process.memory_info().rss, time.perf_counter()
    source = load_folder(folder, max_bad_share=0)
    seconds, after = time.perf_counter() - started, process.memory_info().rss
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    return {
        "rows": len(source.labels),
        "seconds": seconds,
        "table_mib": (after - before) / MEBIBYTE,
        "peak_mib": (peak - before) / MEBIBYTE,
    }


def steps(folder: Path) -> dict[str, float]:
    """Take batches from the first step on, and one in the middle of the hundredth epoch."""
    load_tensorflow_quietly()
    from pipeline.config.settings import AugmentConfig
    from pipeline.data.batches import Examples, build_training_batches
    from pipeline.data.folders.folder import load_folder

    source = load_folder(folder, max_bad_share=0)
    examples = Examples(source, np.arange(len(source.labels)), image_size=SIDE)

    def batches_from(step: int) -> Any:
        return iter(
            build_training_batches(
                examples,
                AugmentConfig(flip="horizontal"),
                global_batch_size=BATCH_SIZE,
                seed=0,
                first_step=step,
                last_step=2**40,
            )
        )

    batches, spent = batches_from(0), []
    for _ in range(BATCHES):
        started = time.perf_counter()
        next(batches)
        spent.append(time.perf_counter() - started)
    started = time.perf_counter()
    next(batches_from(int(99.5 * len(source.labels) / BATCH_SIZE)))
    return {"batch_ms": 1000 * statistics.median(spent), "resume_s": time.perf_counter() - started}


def measure(rows: int, *, linked: bool) -> dict[str, float | None]:
    """Measure a folder of so many images; without the first start where they are names of a few."""
    with tempfile.TemporaryDirectory() as place:
        folder, before = Path(place, "images"), os.environ.get("XDG_CACHE_HOME")
        # Nothing of it is kept after the benchmark.
        os.environ["XDG_CACHE_HOME"] = str(Path(place, "cache"))
        try:
            (link_images if linked else write_images)(folder, rows)
            time.sleep(SETTLED_SECONDS)
            found = []
            for task in (start, start, steps):
                with own_process() as process:
                    found.append(process.submit(task, folder).result())
        finally:
            os.environ.pop("XDG_CACHE_HOME")
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before
    first, again, taken = found
    assert first["rows"] == again["rows"] == rows
    # Of both starts, because the first has threads and decoders to pay for, and the next what was kept.
    peak = max(first["peak_mib"], again["peak_mib"])
    return {
        "rows": rows,
        "first_start_s": None if linked else first["seconds"],
        "next_start_s": again["seconds"],
        "table_mib": again["table_mib"],
        "peak_mib": peak,
        **taken,
    }


def plot(found: Sequence[dict[str, float | None]], path: Path) -> None:
    """Draw each figure over the rows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    rows = [one["rows"] for one in found]
    for axes, (name, title) in zip(figure.subplots(2, 3).flat, FIGURES.items(), strict=True):
        values = [one[name] or math.nan for one in found]
        axes.plot(rows, values, "o-")
        axes.set(title=title, xscale="log", xlabel="images", ylim=(0, 1.1 * np.nanmax(values)))
    write_figure(path, figure)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--rows", type=count, nargs="+", default=[1_000, 10_000, 100_000], help="numbers of images"
    )
    parser.add_argument(
        "--linked-rows", type=count, nargs="*", default=[], help="numbers of names of a thousand images"
    )
    parser.add_argument("--plot", type=Path, help="where to draw them (PNG)")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    found = [measure(rows, linked=False) for rows in arguments.rows]
    found += [measure(rows, linked=True) for rows in arguments.linked_rows]
    print(
        f"\n{CORES} cores, load before {load:.2f}\n{'images':>30}"
        + "".join(f"{one['rows']:>12,}" for one in found)
    )
    for name, title in FIGURES.items():
        print(f"{title:>30}" + "".join(f"{one[name] or math.nan:>12,.2f}" for one in found))
    if arguments.plot:
        plot(found, arguments.plot)
    environment = {**describe_environment(), "load_before": load}
    print(json.dumps({"benchmark": "scale", "found": found, "environment": environment}))


if __name__ == "__main__":
    main()
