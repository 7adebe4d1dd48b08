"""Addresses of the public internet, and sockets that lead nowhere else.

What a stranger wrote (a relay in an announcement, a link in a job) must not make this machine talk to its own network.
"""

import ipaddress
import socket
from typing import Any, Final

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class PrivateAddress(OSError):
    """A host that lies on this machine or its network."""


def public_address(text: str) -> bool:
    """True for an IP address of the public internet. Addresses that carry an IPv4 inside are judged by it."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None and address.teredo is not None:
            inner = address.teredo[1]
        if inner is not None:
            return public_address(str(inner))
    return address.is_global and not address.is_multicast and not address.is_reserved


def public_socket(info: tuple[Any, ...]) -> socket.socket:
    """A `socket_factory` of aiohttp: refuses every private address, whatever name or redirect led to it.

    `info` is one answer of getaddrinfo. The check is on the address that is connected to, so a name that changes its
    mind in between (DNS rebinding) gains nothing. Raises PrivateAddress.
    """
    family, kind, proto, _, address = info
    if not public_address(str(address[0])):
        raise PrivateAddress("not on the public internet")
    return socket.socket(family, kind, proto)
