"""The main job: train an image classifier from the command line."""

import contextlib
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.config.config import Config
from pipeline.config.host_addresses import SLURM, Addresses, find_addresses, spread_devices
from pipeline.config.option import flag
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.console.run_command import DONE, run_command
from pipeline.console.training_request import Request, parse_training_request
from pipeline.hosts.hosts import Hosts
from pipeline.hosts.join import join
from pipeline.places import check_places
from pipeline.run_directory import RunDirectory


def new_run_dir(name: str) -> Path:
    """Return the default run directory: preset and time."""
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def main(arguments: list[str]) -> int:
    """Run `train.py` with `arguments`; return its exit code."""
    return run_command(_train, arguments, "interrupted")


def _train(arguments: list[str]) -> int:
    began = time.monotonic()
    request = parse_training_request(arguments)
    looks = request.summary or request.diagram
    if request.hosts == SLURM and "SLURM_PROCID" in os.environ:
        # TensorFlow reads Slurm's variables.
        load_tensorflow_quietly()
    addresses = None if looks else find_addresses(request.hosts, request.host_index)
    run_dir = request.run_dir or new_run_dir(request.chosen.preset_name())
    config = _find_config(request, run_dir, addresses)
    for line in config.without_effect(request.chosen.values):
        print(f"note: {line}", file=sys.stderr)
    if looks:
        load_tensorflow_quietly()
        from pipeline.inspection.summary import show_network

        show_network(config, table=request.summary, diagram=request.diagram)
        return DONE
    deadline = None if request.minutes is None else began + 60 * request.minutes
    if not addresses:
        return _train_alone(request, config, run_dir, deadline)
    with join(addresses, request.host_timeout, _facts(request, config)) as hosts:
        return _train_with(hosts, request, config, run_dir, deadline)


def _find_config(request: Request, run_dir: Path, addresses: Addresses | None) -> Config:
    """Return the settings: of a run that goes on those in its directory, which the chief alone has."""
    chosen, directory = request.chosen, RunDirectory(run_dir)
    is_chief = not addresses or addresses.index == 0
    if request.resume and is_chief:
        config = _load_unfinished(directory, chosen.explicit_values(), addresses)
    else:
        config = chosen.build_config()
        if is_chief and not (request.summary or request.diagram):
            directory.check_is_new()
    if not (request.summary or request.diagram or (is_chief and directory.metrics.exists())):
        check_places(config)
    return config


def _load_unfinished(directory: RunDirectory, asked: dict[str, Any], addresses: Addresses | None) -> Config:
    """Read the settings of the run to go on with, which may go on on another number of hosts."""
    if not addresses:
        return directory.load_unfinished(asked)
    devices = asked.pop("devices", None)
    config = directory.load_unfinished(asked)
    before = config.run.devices
    config = config.with_values({"devices": devices or spread_devices(before, len(addresses.hosts))})
    if config.run.devices != before:
        print(f"devices {before} -> {config.run.devices}: the same batches, summed in another order")
    return config


def _train_alone(request: Request, config: Config, run_dir: Path, deadline: float | None) -> int:
    # Not before the command line is understood: TensorFlow takes seconds to load.
    load_tensorflow_quietly()
    from pipeline.data.tfds import UnavailableData
    from pipeline.training.train import train

    try:
        return train(config, run_dir, resume=request.resume, deadline=deadline)
    except UnavailableData:
        if request.chosen.names_data or request.resume:
            raise
    print("CIFAR-10 is neither prepared nor downloadable here: training on digits instead")
    config = replace(request.chosen, preset="digits").build_config()
    return train(config, request.run_dir or new_run_dir("digits"), deadline=deadline)


def _facts(request: Request, config: Config) -> dict[str, Any]:
    """Return what every host must be asked for: of a run that goes on the chief's directory has the rest."""
    asked = request.chosen.explicit_values() if request.resume else config.values()
    return {
        "--resume": request.resume,
        "--minutes": request.minutes,
        **{flag(name): value for name, value in asked.items()},
    }


def _train_with(hosts: Hosts, request: Request, config: Config, run_dir: Path, deadline: float | None) -> int:
    """Train with other hosts; those that are not the chief write and print nothing that stays."""
    config = config.with_values(hosts.tell(config.values()))
    load_tensorflow_quietly()
    from pipeline.training.train import train

    if hosts.is_chief:
        return train(config, run_dir, resume=request.resume, deadline=deadline, hosts=hosts)
    others = "1 other" if hosts.count == 2 else f"{hosts.count - 1} others"
    print(f"{hosts.name(hosts.index)} trains with {others}; the chief tells how", flush=True)
    with tempfile.TemporaryDirectory(prefix="train-host-") as scratch, open(os.devnull, "w") as nowhere:
        hosts.scratch = Path(scratch)
        with contextlib.redirect_stdout(nowhere):
            return train(config, hosts.scratch, resume=request.resume, deadline=deadline, hosts=hosts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
