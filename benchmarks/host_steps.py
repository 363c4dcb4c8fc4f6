"""What several hosts cost a step, beside its arithmetic: the sum of the gradients, and what the chief tells.

    python -m benchmarks.host_steps

Hosts are processes on this machine, joined over the loopback as those of `train.py --hosts` are. A step
sleeps in place of computing, for as long on each, and then sums gradients of so many parameters over all;
the chief tells what it tells after each step. What a step takes beyond its sleep is the cost.
"""

import argparse
import contextlib
import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.measure import CORES, Spread, count, own_process
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.environment import describe_environment
from pipeline.files.whole import write_figure

PARAMETERS = {"ResNet18, width 16": 701_466, "ResNet18": 11_181_642, "ResNet50": 25_583_592}
TENSORS = 60
"""That the parameters are spread over, about as many as ResNet18 has."""

SLEEP_SECONDS, WARM_STEPS, TIMEOUT = 0.05, 3, 120.0


def free_ports(number: int) -> list[int]:
    """Return ports of the loopback that nobody listens at now."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [server.getsockname()[1] for server in servers]


def be_host(index: int, addresses: tuple[str, ...], steps: int) -> dict[str, list[float]]:
    """Take the steps of one host; return the milliseconds that each takes beyond its sleep."""
    load_tensorflow_quietly()
    from pipeline.config.host_addresses import Addresses
    from pipeline.hosts.hosts import Hosts
    from pipeline.hosts.join import join
    from pipeline.training.devices import build_strategy

    alone = len(addresses) == 1
    with (
        contextlib.nullcontext(Hosts()) if alone else join(Addresses(addresses, index), TIMEOUT, {})
    ) as hosts:
        strategy = build_strategy(f"cpu:{len(addresses)}", hosts)
        return {name: _time_steps(strategy, hosts, count, steps) for name, count in PARAMETERS.items()}


def _time_steps(strategy: Any, hosts: Any, parameters: int, steps: int) -> list[float]:
    import numpy as np
    import tensorflow as tf

    gradients = [tf.ones([parameters // TENSORS]) for _ in range(TENSORS)]

    def sleep() -> np.float32:
        time.sleep(SLEEP_SECONDS)
        return np.float32(1)

    def on_replica() -> Any:
        slept = tf.numpy_function(sleep, [], tf.float32)
        replica = tf.distribute.get_replica_context()
        # All wait for the sleep, as gradients do for the arithmetic.
        return replica.all_reduce("SUM", [slept * gradient for gradient in gradients])

    @tf.function(autograph=False)
    def step() -> Any:
        sums = strategy.run(on_replica)
        return tf.add_n([total[0] for total in sums])

    spent = []
    for _ in range(WARM_STEPS + steps):
        started = time.perf_counter()
        total = step()
        hosts.tell([False, False])
        spent.append(1000 * (time.perf_counter() - started - SLEEP_SECONDS))
        assert float(total) == TENSORS * hosts.count
    return spent[WARM_STEPS:]


def measure(hosts: int, steps: int) -> dict[str, list[float]]:
    """Let so many processes take steps together; return the chief's milliseconds of each."""
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(hosts))
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(own_process()) for _ in addresses]
        ends = [process.submit(be_host, index, addresses, steps) for index, process in enumerate(processes)]
        chief, *_ = [end.result() for end in ends]
        return chief


def plot(found: dict[int, dict[str, list[float]]], path: Path) -> None:
    """Draw the median of each network over the hosts, from the least to the greatest as a bar."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, parameters in PARAMETERS.items():
        spreads = [Spread.of(found[hosts][name]) for hosts in found]
        medians = [spread.median for spread in spreads]
        bars = [[s.median - s.minimum for s in spreads], [s.maximum - s.median for s in spreads]]
        axes.errorbar([*found], medians, yerr=bars, fmt="o-", capsize=4, label=f"{name}, {parameters:,}")
    axes.set(
        xlabel="hosts (processes)",
        ylabel="beyond the arithmetic, ms a step",
        yscale="symlog",
        xticks=[*found],
    )
    axes.legend(title="parameters", fontsize="small")
    write_figure(path, figure)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hosts", type=count, nargs="+", default=[1, 2, 4], help="numbers of hosts (1 2 4)")
    parser.add_argument("--steps", type=count, default=30, help="steps that are measured (30)")
    parser.add_argument("--plot", type=Path, help="where to draw them (PNG)")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    found = {hosts: measure(hosts, arguments.steps) for hosts in arguments.hosts}
    print(f"\n{CORES} cores, load before {load:.2f}; ms of a step beyond its sleep: median (least-greatest)")
    print(f"{'hosts':>20}" + "".join(f"{hosts:>24}" for hosts in found))
    for name in PARAMETERS:
        print(f"{name:>20}" + "".join(f"{_cell(found[hosts][name]):>24}" for hosts in found))
    if arguments.plot:
        plot(found, arguments.plot)
    print(
        json.dumps(
            {
                "benchmark": "host_steps",
                "ms": {
                    hosts: {n: asdict(Spread.of(v)) for n, v in of.items()} for hosts, of in found.items()
                },
                "steps": arguments.steps,
                "sleep_s": SLEEP_SECONDS,
                "environment": {**describe_environment(), "load_before": load},
            }
        )
    )


def _cell(values: Sequence[float]) -> str:
    spread = Spread.of(values)
    return f"{spread.median:.1f} ({spread.minimum:.1f}-{spread.maximum:.1f})"


if __name__ == "__main__":
    main()
