"""Which clients run which files of a bundle, how near to LiteRT's reference kernels, and how fast.

    python -m benchmarks.clients BUNDLE [--markdown]

Every client that is installed answers the golden images; what is missing is said.
"""

import argparse
import json
import os
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.client_checks import Answers, Client, NotInstalled, Refused, clients_of, golden_images
from benchmarks.measure import BUSY_LOAD, CORES, Spread, describe_machine, own_process
from pipeline.console.tables import markdown_table, plain_table

HEADER = ("file", "client", "runs", "equal within", "ms, median", "least")


@dataclass(frozen=True)
class Row:
    """What came of one file in one client.

    Attributes:
        file: of the bundle.
        client: that was asked.
        answers: what it answered; None where it did not.
        why: it did not answer.
        installed: whether it was there to be asked.
    """

    file: str
    client: str
    answers: Answers | None = None
    why: str = ""
    installed: bool = True

    def cells(self) -> list[str]:
        """Write it for a table."""
        if self.answers is None:
            reason = f"{'no' if self.installed else 'not tried'}: {self.why}"
            return [self.file, self.client, reason, "", "", ""]
        runs = "yes" if self.answers.agrees else "OTHER CLASSES"
        return [self.file, self.client, runs, self._within(), *self._times()]

    def figures(self) -> dict[str, Any]:
        """Tell it for the last line."""
        told = asdict(self)
        if self.answers and (times := self.answers.milliseconds):
            told["answers"]["milliseconds"] = {**asdict(Spread.of(times)), "runs": len(times)}
        return told

    def _within(self) -> str:
        assert self.answers
        if self.answers.off == 0:
            return "0"
        if self.answers.unit == "levels":
            return f"{self.answers.off:.0f} level{'s' * (self.answers.off > 1)}"
        return f"{self.answers.off:.0e} of a {self.answers.unit}"

    def _times(self) -> list[str]:
        assert self.answers
        if self.answers.milliseconds is None:
            return ["", ""]
        spread = Spread.of(self.answers.milliseconds)
        return [f"{spread.median:.3g}", f"{spread.minimum:.3g}"]


def ask(bundle: Path, file: str, client: str, function: Client) -> Row:
    """Ask one client in a fresh process, which may end."""
    try:
        with own_process() as process:
            return Row(file, client, process.submit(function, bundle, file).result())
    except NotInstalled as missing:
        return Row(file, client, why=str(missing), installed=False)
    except Refused as refused:
        return Row(file, client, why=str(refused))
    except BrokenProcessPool:
        return Row(file, client, why="it ended its process")
    except Exception as error:  # whatever a client raises is what is to be told
        return Row(file, client, why=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")


def main() -> int:
    """Run the benchmark; 1 where a client names other classes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="what python -m export wrote")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    arguments = parser.parse_args()
    bundle = arguments.bundle.resolve()
    if not golden_images(bundle):
        parser.error(f"BUNDLE must be a folder that python -m export wrote; received {arguments.bundle}")
    load_before = os.getloadavg()[0]
    rows = []
    for file, client, function in clients_of(bundle):
        print(f"asking {client} for {file}", flush=True)
        rows.append(ask(bundle, file, client, function))
    environment = {**describe_machine(), "load_before": load_before}
    images = len(golden_images(bundle))
    print(f"\nclients: {arguments.bundle.name}, {images} golden images, one at a time")
    print(f"{environment['processor']}, {CORES} cores, load before {load_before:.2f}\n")
    if load_before > BUSY_LOAD * CORES:
        print("The machine was busy: the times are no more than an order of magnitude.\n")
    write = markdown_table if arguments.markdown else plain_table
    print(write(HEADER, [row.cells() for row in rows]))
    print(
        json.dumps(
            {
                "benchmark": "clients",
                "settings": {"bundle": arguments.bundle.name, "images": images},
                "clients": [row.figures() for row in rows],
                "environment": environment,
                "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            }
        )
    )
    return int(any(row.answers and not row.answers.agrees for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
