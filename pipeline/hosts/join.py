"""How the hosts of a run find each other, and what each must bring."""

import contextlib
import hashlib
import ipaddress
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.config.host_addresses import Addresses
from pipeline.console.run_command import FAILED, INTERRUPTED, USER_ERROR
from pipeline.environment import describe_environment
from pipeline.errors import UserError
from pipeline.hosts.connection import END, MAX_GREETING, VALUE, Closed, Connection
from pipeline.hosts.hosts import CHIEF, HostLost, Hosts

RETRY_SECONDS = 0.2

GREETING_SECONDS = 5.0
"""For whoever connects to say which host it is."""


@contextlib.contextmanager
def join(addresses: Addresses, timeout: float, asked: Mapping[str, Any]) -> Iterator[Hosts]:
    """Wait until all hosts are there, hold them to each other, and in the end leave them or take them along.

    Host 0 listens at its address until all are there. TensorFlow's own server has the address of every
    other host, and on the chief the next port that is free.

    Args:
        addresses: of all, and which this is.
        timeout: seconds to wait for a host that starts late; after the start, of silence.
        asked: what the command line asks for; it must be the same on every host.

    Raises:
        UserError: a host is not there in time, or brings something else.
    """
    facts = {**_versions(), **asked}
    until = time.monotonic() + timeout
    if addresses.index == CHIEF:
        hosts = _listen(addresses, timeout, until)
    else:
        _check_free(addresses.hosts[addresses.index])
        hosts = _connect(addresses, timeout, until)
    try:
        hosts.agree(facts)
        hosts.cluster = tuple(hosts.tell([_server_of(addresses), *addresses.hosts[1:]]))
        yield hosts
    except HostLost as error:
        hosts.leave(str(error))
    except UserError as error:
        hosts.fail(str(error), USER_ERROR)
        raise
    except KeyboardInterrupt:
        hosts.fail("it was interrupted", INTERRUPTED)
        raise
    except BaseException as error:
        hosts.fail(repr(error), FAILED)
        raise
    hosts.close()


def _versions() -> dict[str, str]:
    """Tell what else the bits of a run depend on: the versions, and this project's code."""
    environment = describe_environment()
    return {
        "Python": environment["python"],
        **{f"version of {name}": version for name, version in environment["packages"].items()},
        "code of this project": _digest_code(),
    }


def _digest_code() -> str:
    """Digest the package's source, hexadecimal."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def split_address(address: str) -> tuple[str, int]:
    """Return name and port; an IPv6 address stands in brackets."""
    name, _, port = address.rpartition(":")
    return name.removeprefix("[").removesuffix("]"), int(port)


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return False


def _bind(address: str) -> socket.socket:
    """Open a port: of a loopback address for this machine alone, else for all who reach it.

    Raises:
        UserError: another process has it.
    """
    name, port = split_address(address)
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    # Not the name itself: a cluster may know it before this machine does, or by another address.
    own = name if _is_loopback(name) else ""
    try:
        return socket.create_server((own, port), family=family)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"the port of this host must be free; {address}: {reason}") from None


def _check_free(address: str) -> None:
    _bind(address).close()


def _server_of(addresses: Addresses) -> str:
    """Return an address for TensorFlow's server beside the chief's own: the next port that is free."""
    address = addresses.hosts[CHIEF]
    name, first = address.rpartition(":")[0], split_address(address)[1]
    for port in range(first + 1, 2**16):
        candidate = f"{name}:{port}"
        if candidate not in addresses.hosts:
            with contextlib.suppress(UserError):
                _check_free(candidate)
                return candidate
    raise UserError(f"a port above that of the chief must be free; received {address}")


def _listen(addresses: Addresses, timeout: float, until: float) -> Hosts:
    """Wait for every other host to connect and say who it is."""
    joined: dict[int, Connection] = {}
    with _bind(addresses.hosts[CHIEF]) as listener:
        try:
            others = range(1, len(addresses.hosts))
            # One that has gone meanwhile may be started again.
            while missing := [i for i in others if i not in joined or joined[i].has_gone()]:
                listener.settimeout(max(until - time.monotonic(), 0.001))
                try:
                    link, _ = listener.accept()
                except TimeoutError:
                    names = ", ".join(f"host {index} ({addresses.hosts[index]})" for index in missing)
                    raise UserError(
                        f"every host must join within --host-timeout {timeout:g} s; {names} did not"
                    ) from None
                _admit(Connection(link), addresses, joined)
        except UserError as error:
            for connection in joined.values():
                _send_away(connection, str(error))
            raise
    return Hosts(addresses.hosts, CHIEF, timeout, joined)


def _send_away(connection: Connection, line: str) -> None:
    connection.send_value(END, {"line": line, "code": USER_ERROR})
    connection.close()


def _admit(connection: Connection, addresses: Addresses, joined: dict[int, Connection]) -> None:
    """Take a host that is waited for; send away whoever is none."""
    connection.wait_at_most(GREETING_SECONDS)
    try:
        _, content = connection.receive(MAX_GREETING)
        greeting = json.loads(content)
        index, hosts = int(greeting["index"]), greeting["hosts"]
    except (Closed, ValueError, TypeError, KeyError):
        connection.close()
        return
    wrong = None
    if index in joined and joined[index].has_gone():
        joined.pop(index).close()
    if hosts != list(addresses.hosts):
        wrong = f"every host must have the same --hosts; host {index} has {','.join(map(str, hosts))}"
    elif index in joined or index not in range(1, len(addresses.hosts)):
        wrong = f"every host must have an index of its own; there are two of {index}"
    if wrong:
        _send_away(connection, wrong)
        raise UserError(wrong)
    connection.wait_at_most(None)
    connection.send_value(VALUE, "welcome")
    joined[index] = connection


def _connect(addresses: Addresses, timeout: float, until: float) -> Hosts:
    """Find the chief, which may start later, and say who this is."""
    address, fault = addresses.hosts[CHIEF], "no answer"
    while time.monotonic() < until:
        try:
            link = socket.create_connection(
                split_address(address), timeout=max(until - time.monotonic(), 0.1)
            )
        except OSError as error:
            fault = error.strerror or str(error)
            time.sleep(RETRY_SECONDS)
            continue
        connection = Connection(link)
        connection.send_value(VALUE, {"index": addresses.index, "hosts": addresses.hosts})
        connection.wait_at_most(max(until - time.monotonic(), 0.1))
        try:
            kind, content = connection.receive(MAX_GREETING)
        except Closed as error:
            fault = str(error)
            connection.close()
            time.sleep(RETRY_SECONDS)
            continue
        if kind == END:
            raise UserError(json.loads(content)["line"])
        connection.wait_at_most(None)
        return Hosts(addresses.hosts, addresses.index, timeout, {CHIEF: connection})
    raise UserError(f"host 0 must answer within --host-timeout {timeout:g} s; {address}: {fault}")
