"""The Electrum of the Lightning tests: the newest of the distribution, in a folder of its own.

Debian's stable Electrum makes no hold invoices. Its next release has one that does, of which the Python part runs in an
environment of its own, so nothing of the system changes and no rights are needed; the package comes from the mirror
that this machine's own package manager uses. Where that cannot be had, the installed `electrum` serves, without holds.
"""

import functools
import os
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

from tests.peers import environments

SUITE = "forky"
PACKAGES = ("electrum", "python3-electrum")
NEEDS = (
    "aiohttp==3.14.5", "aiohttp-socks==0.12.0", "aiorpcX==0.25.0", "certifi", "cryptography==50.0.2",
    "dnspython==2.9.2", "electrum-aionostr==0.1.0", "electrum-ecc==0.0.8", "jsonpatch==1.47", "qrcode==8.2",
)  # fmt: skip
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LAUNCHER = """#!/bin/sh
export PYTHONPATH={folder}/root/usr/lib/python3/dist-packages
exec {python} {folder}/root/usr/bin/electrum "$@"
"""


class Unavailable(Exception):
    """This machine cannot build it; the message says why."""


@functools.cache
def electrum() -> str:
    """The program. Skips the test loudly where there is none, warns where it makes no hold invoices."""
    try:
        return str(_newest())
    except Unavailable as error:
        why = str(error)
    if (installed := shutil.which("electrum")) is not None:
        warnings.warn(f"HOLD INVOICES ON LIGHTNING NOT TESTED: {why}; using {installed}", stacklevel=1)
        return installed
    why = f"LIGHTNING NOT TESTED: {why}, and `electrum` is not installed"
    warnings.warn(why, stacklevel=1)
    pytest.skip(why)


def _newest() -> Path:
    if shutil.which("apt-get") is None or not KEYRING.exists():
        raise Unavailable("this is no Debian")
    # The Python binding of libsecp256k1 would be compiled otherwise; Debian's own library does.
    try:
        python = environments.python(*NEEDS, environ={"ELECTRUM_ECC_DONT_COMPILE": "1"})
    except pytest.skip.Exception as error:
        raise Unavailable(str(error)) from None
    with environments.built("apt", (f"electrum@{SUITE}", *NEEDS)) as folder:
        launcher = environments.folder_of("apt", (f"electrum@{SUITE}", *NEEDS)) / "electrum"
        if folder is not None:
            try:
                _unpack(folder)
                launcher.write_text(LAUNCHER.format(folder=folder, python=python))
                launcher.chmod(0o755)
                _run([str(launcher), "--offline", "version"], folder)
            except Unavailable:
                shutil.rmtree(folder)
                raise
    return launcher


def _unpack(folder: Path) -> None:
    """The packages from the machine's own mirror, through lists of our own."""
    listed = _run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(REPO_URI)"], folder)
    mirrors = [line.split()[2] for line in listed.splitlines() if line.startswith("Debian main ")]
    if not mirrors:
        raise Unavailable("the package manager knows no Debian mirror")
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirrors[0]} {SUITE} main\n")
    (folder / "lists" / "partial").mkdir(parents=True)
    own = {
        "Dir::Etc::SourceList": folder / "sources.list", "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": folder / "lists", "Dir::Cache": folder / "cache", "APT::Sandbox::User": "",
        "Acquire::Languages": "none", "Debug::NoLocking": "1",
    }  # fmt: skip
    apt = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in own.items())]
    _run([*apt, "update"], folder)
    _run([*apt, "download", *PACKAGES], folder)
    for package in folder.glob("*.deb"):
        _run(["dpkg", "-x", str(package), str(folder / "root")], folder)
    for left in ("lists", "cache"):
        shutil.rmtree(folder / left, ignore_errors=True)


def _run(command: list[str], folder: Path) -> str:
    environ = os.environ | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environ, capture_output=True, text=True, timeout=240, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} took too long") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{' '.join(command[-2:])}: {lines[-1] if lines else done.returncode}")
    return done.stdout
