"""Ports that are free."""

import socket


def free_ports(count: int) -> list[int]:
    """Return ports in a row that nobody listens at now."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            ports = [first.getsockname()[1] + number for number in range(count)]
            try:
                for port in ports[1:]:
                    socket.create_server(("127.0.0.1", port)).close()
            except (OSError, OverflowError):
                continue
        return ports
