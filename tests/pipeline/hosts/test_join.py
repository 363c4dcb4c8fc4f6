"""Hosts find each other, hold each other to what must be equal, and end when one has gone."""

import queue
import signal
import socket
import subprocess
import sys
import time

import pytest

from pipeline.hosts.connection import VALUE, Connection
from pipeline.hosts.hosts import CHIEF, HostLost, Hosts
from tests.commands import ROOT
from tests.ports import free_ports

TIMEOUT = 60.0
"""Seconds, enough for the start of Python beside other work."""

SILENCE = 4
"""Seconds after which a host counts as lost, in the tests that wait for that."""

HOST = """
import sys, time
from pipeline.config.host_addresses import Addresses
from pipeline.console.run_command import run_command
from pipeline.hosts.join import join

index, port, timeout, facts = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), eval(sys.argv[4])
addresses = Addresses(tuple(f"127.0.0.1:{port + host}" for host in range(facts.pop("of", 2))), index)

def command(_):
    with join(addresses, timeout, facts) as hosts:
        print("joined", hosts.tell(f"by {index}"), hosts.cluster, hosts.gather(index), flush=True)
        exec(sys.argv[5])
    return 0

sys.exit(run_command(command, [], "interrupted"))
"""
"""One host, which runs its last argument once all are there."""


@pytest.fixture
def port() -> int:
    """The first of four that are free."""
    return free_ports(4)[0]


@pytest.fixture
def start(port):
    """Start hosts; none outlives the test."""
    started = []

    def start(index: int, then: str = "", *, timeout: float = TIMEOUT, **facts: int) -> subprocess.Popen:
        words = [sys.executable, "-c", HOST, index, port, timeout, facts, then]
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen([str(word) for word in words], cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def end_of(process: subprocess.Popen) -> tuple[int, str, str]:
    printed, error = process.communicate(timeout=300)
    return process.returncode, printed, error


def test_the_chief_tells_and_the_others_wait(start, port):
    servers = (f"127.0.0.1:{port + 3}", f"127.0.0.1:{port + 1}", f"127.0.0.1:{port + 2}")
    hosts = [start(index, of=3) for index in (2, 1, 0)]
    for process, gathered in zip(hosts, (None, None, [0, 1, 2]), strict=True):
        assert end_of(process) == (0, f"joined by 0 {servers} {gathered}\n", "")


def test_bytes_are_told_as_they_are(start):
    tell = "content = hosts.tell_bytes({}); print(content == bytes(range(256)) * 20_000)"
    hosts = [start(0, tell.format("bytes(range(256)) * 20_000")), start(1, tell.format("b''"))]
    for process in hosts:
        assert end_of(process)[1].splitlines()[1] == "True"


@pytest.mark.parametrize("late", [0, 1])
def test_a_host_that_starts_late_is_waited_for_and_one_that_never_comes_is_not(start, port, late):
    early = start(1 - late)
    time.sleep(1)
    assert end_of(start(late))[0] == end_of(early)[0] == 0
    began = time.monotonic()
    code, _, error = end_of(start(1 - late, timeout=1))
    assert code == 2
    assert error == (
        f"error: host 0 must answer within --host-timeout 1 s; 127.0.0.1:{port}: Connection refused\n"
        if late == 0
        else f"error: every host must join within --host-timeout 1 s; host 1 (127.0.0.1:{port + 1}) did not\n"
    )
    assert 1 <= time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("chief", "other", "rule"),
    [
        ({"--width": 4}, {"--width": 8}, "--width; host 1 (127.0.0.1:{}) has 8, host 0 has 4"),
        ({}, {"--resume": True}, "--resume; host 1 (127.0.0.1:{}) has True, host 0 has none"),
        ({"of": 2}, {"of": 3}, "--hosts; host 1 has 127.0.0.1:{0},127.0.0.1:{1},127.0.0.1:{2}"),
    ],
)
def test_hosts_that_differ_are_refused_by_both(start, port, chief, other, rule):
    hosts = [start(0, **chief), start(1, **other)]
    ports = [port, port + 1, port + 2] if "{0}" in rule else [port + 1]
    for process in hosts:
        code, printed, error = end_of(process)
        assert (code, printed) == (2, "")
        assert error.startswith(f"error: every host must have the same {rule.format(*ports)}")
        assert error.count("\n") == 1


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize(
    ("how", "what"), [(signal.SIGKILL, "has ended"), (signal.SIGSTOP, f"has been silent for {SILENCE} s")]
)
def test_a_host_that_dies_or_hangs_is_named_in_a_line(start, port, victim, how, what):
    # A main thread that no exception reaches, as in a wait of TensorFlow's.
    wait = f"hosts.timeout = {SILENCE}; __import__('ctypes').CDLL(None).sleep(600)"
    hosts = [start(0, wait), start(1, wait)]
    for process in hosts:
        assert process.stdout.readline().startswith("joined")
    hosts[victim].send_signal(how)
    began = time.monotonic()
    code, _, error = end_of(hosts[1 - victim])
    assert code == 1
    assert error == (
        f"stopped: host {victim} (127.0.0.1:{port + victim}) {what}; "
        "to go on, the same with --resume on every host\n"
    )
    assert time.monotonic() - began < SILENCE + 20
    if how == signal.SIGSTOP:
        hosts[victim].send_signal(signal.SIGCONT)
        assert end_of(hosts[victim])[0] == 1


def test_a_host_that_hangs_in_the_middle_of_a_message_holds_nobody_up(start, port):
    tell = f"hosts.timeout = {SILENCE}\nwhile True: hosts.tell_bytes(bytes(1 << 20))"
    hosts = [start(0, tell), start(1, tell)]
    for process in hosts:
        assert process.stdout.readline().startswith("joined")
    hosts[1].send_signal(signal.SIGSTOP)
    _, error = hosts[0].communicate(timeout=SILENCE + 20)
    assert hosts[0].returncode == 1
    assert error == (
        f"stopped: host 1 (127.0.0.1:{port + 1}) has been silent for {SILENCE} s; "
        "to go on, the same with --resume on every host\n"
    )


def test_what_a_host_told_before_it_ended_is_heard():
    hosts = Hosts(("a:1", "b:2"), index=1)

    class Late(queue.Queue):
        """The last value and the end come just after the wait for them is over."""

        def get(self, block: bool = True, timeout: float | None = None) -> bytes:
            if CHIEF not in hosts._left:
                self.put(b'"the last"')
                hosts._left.add(CHIEF)
                raise queue.Empty
            return super().get(block, timeout)

    hosts._messages[CHIEF] = Late()
    assert hosts.tell(None) == "the last"
    with pytest.raises(HostLost, match="has ended"):
        hosts.tell(None)


def test_an_error_of_one_host_ends_the_others_with_its_line(start, port):
    from_one = "from pipeline.errors import UserError; raise UserError('no such image')"
    hosts = [start(0, "hosts.gather(0)"), start(1, from_one)]
    assert end_of(hosts[1])[::2] == (2, "error: no such image\n")
    assert end_of(hosts[0])[::2] == (2, f"error: host 1 (127.0.0.1:{port + 1}) ended: no such image\n")


def test_a_stranger_who_finds_the_port_is_no_host(start, port):
    chief = start(0)
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port)) as link:
                link.sendall(b"GET / HTTP/1.1\r\n\r\n")
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    assert end_of(start(1))[0] == end_of(chief)[0] == 0


def test_a_host_that_is_started_again_while_others_are_waited_for_is_no_second(start, port):
    chief = start(0, of=3)
    while True:
        try:
            first = Connection(socket.create_connection(("127.0.0.1", port)))
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    addresses = [f"127.0.0.1:{port + host}" for host in range(3)]
    first.send_value(VALUE, {"index": 1, "hosts": addresses})
    assert first.receive()[0] == VALUE
    first.send_value(VALUE, {"its": "facts"})
    first.close()
    for process in [chief, *(start(index, of=3) for index in (2, 1))]:
        assert end_of(process)[::2] == (0, "")


def test_two_of_one_index_are_refused(start, port):
    chief, *_ = [start(index, of=3) for index in (0, 1, 1)]
    message = "error: every host must have an index of its own; there are two of 1\n"
    assert end_of(chief)[::2] == (2, message)


def test_a_port_that_is_taken_is_told(start, port):
    with socket.create_server(("127.0.0.1", port + 1)):
        code, _, error = end_of(start(1))
    assert (code, error) == (
        2,
        f"error: the port of this host must be free; 127.0.0.1:{port + 1}: Address already in use\n",
    )
