"""The address of a dask scheduler: what names one, and which are safe to connect to."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import InputError
from ..files import read_json


def address_of(scheduler: str) -> str:
    """Return the address that a scheduler's file names, or the address itself.

    Raises:
        InputError: it is neither an address nor such a file.
    """
    if "://" in scheduler:
        return scheduler
    wanted = "expected an address such as tls://host:8786, or the file of `dask scheduler --scheduler-file FILE`"
    if not Path(scheduler).is_file():
        raise InputError(f"--scheduler {scheduler} is no address, and no file; {wanted}")
    content = read_json(Path(scheduler))
    address = content.get("address") if isinstance(content, dict) else None
    if not isinstance(address, str) or "://" not in address:
        raise InputError(f"--scheduler {scheduler} names no address; {wanted}")
    return address


def check_safe(address: str, security: Any) -> None:
    """Refuse a scheduler that anybody in the network could be, or join: who sends tasks runs code.

    Raises:
        InputError: the address is neither encrypted nor of this machine, or there are no certificates.
    """
    try:
        parts = urlsplit(address)
        host, known = parts.hostname or "", bool(parts.port)
    except ValueError:
        known = False
    if not known or parts.scheme not in ("tls", "tcp"):
        raise InputError(f"--scheduler {address} is no address of a scheduler; expected one such as tls://host:8786")
    if parts.scheme == "tcp" and not is_loopback(host):
        raise InputError(
            f"--scheduler {address} is not encrypted, so whoever is in that network can run code as you and read the "
            "images; start the scheduler and its workers with TLS and name it tls://… (docs/many_machines.md), or "
            "lead its port to this machine, e.g. with ssh -L, and name it tcp://127.0.0.1:…"
        )
    if parts.scheme == "tls" and not (security.tls_ca_file and security.tls_client_cert):
        raise InputError(
            f"--scheduler {address} needs certificates, and dask's configuration names none; set ca-file, client.cert "
            "and client.key of distributed.comm.tls (docs/many_machines.md)"
        )


def is_loopback(host: str) -> bool:
    """Return whether a name or number is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
