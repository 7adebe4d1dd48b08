"""Environments of third-party clients, built once and kept under ~/.cache/timmy-tests.

A peer that cannot be installed skips its tests with one loud line; a peer that is installed and fails is a failure.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "timmy-tests"
MINUTES = 5


def node_modules(*packages: str) -> Path:
    """A folder whose `node_modules` holds these npm packages (`name@version`)."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        skip("node and npm are not installed")
    with built("npm", packages) as folder:
        if folder is not None:
            (folder / "package.json").write_text('{"private": true, "type": "module"}\n')
            _run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), *packages], folder)
    return folder_of("npm", packages)


def python(
    *packages: str, interpreter: str = sys.executable, environ: Mapping[str, str] = MappingProxyType({})
) -> Path:
    """The interpreter of a virtual environment that holds these packages, installed under these variables."""
    with built(Path(interpreter).resolve().name, packages) as folder:
        if folder is not None:
            _run([interpreter, "-m", "venv", str(folder)], folder)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _run([*pip, *packages], folder, environ)
    return folder_of(Path(interpreter).resolve().name, packages) / "bin" / "python"


def skip(why: str) -> None:
    warnings.warn(f"PEER NOT TESTED: {why}", stacklevel=2)
    pytest.skip(f"PEER NOT TESTED: {why}")


def folder_of(kind: str, packages: tuple[str, ...]) -> Path:
    first = packages[0].rsplit("@", 1)[0].split("==")[0].replace("/", "-").strip("@")
    return CACHE / f"{kind}-{first}-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:8]}"


@contextmanager
def built(kind: str, packages: tuple[str, ...]) -> Iterator[Path | None]:
    """The folder to build in, or None where it is built; one builder at a time."""
    folder = folder_of(kind, packages)
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "complete").exists():
            yield None
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
        (folder / "complete").touch()


def _run(command: list[str], folder: Path, environ: Mapping[str, str] = MappingProxyType({})) -> None:
    try:
        done = subprocess.run(
            command, env=os.environ | environ, capture_output=True, text=True, timeout=60 * MINUTES, check=False
        )
    except subprocess.TimeoutExpired:
        shutil.rmtree(folder, ignore_errors=True)
        skip(f"{command[0]} took longer than {MINUTES} minutes")
        return
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        lines = (done.stderr or done.stdout).strip().splitlines()
        skip(f"{' '.join(command[:3])}: {lines[-1] if lines else done.returncode}")
