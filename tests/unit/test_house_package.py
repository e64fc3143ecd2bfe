"""What is built is what the repository holds, and it installs beside what people have."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import nbpeft

LARGEST = 10e6  # bytes; the tiny models and their data are most of it


@pytest.fixture(scope="session")
def dist(root, tmp_path_factory) -> Path:
    """An sdist of the repository and the wheel that is built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--outdir", folder, root]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def wheel(dist):
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture
def metadata(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name))


def repository_files(root: Path, folder: str) -> set[str]:
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder]
    output = subprocess.run(listing, cwd=root, capture_output=True, text=True, check=True).stdout
    return {name for name in output.splitlines() if (root / name).exists()}


def test_the_wheel_holds_the_package_and_nothing_else(wheel, root):
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    data = {name for name in packed if ".data/" in name}
    assert packed - data == repository_files(root, "nbpeft")
    assert any(name.endswith("tiny/default/model.safetensors") for name in packed)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())


def test_jupyterlab_finds_its_part_built(wheel, root):
    """As https://jupyterlab.readthedocs.io/en/stable/extension/extension_dev.html lays it out."""
    place = ".data/data/share/jupyter/labextensions/nbpeft/"
    found = {n.partition(place)[2]: n for n in wheel.namelist() if place in n}
    built = {n.partition("built/")[2] for n in repository_files(root, "labextension/built")}
    assert set(found) == built | {"install.json"}
    package = json.loads(wheel.read(found["package.json"]))
    assert package["version"] == nbpeft.__version__
    assert package["jupyterlab"]["_build"]["load"] in built


def test_the_sdist_holds_the_package_and_nothing_odd(dist, root):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    beside = {"LICENSE", "README.md", "CHANGELOG.md", "constraints.txt", "pyproject.toml"}
    folders = repository_files(root, "nbpeft") | repository_files(root, "labextension")
    assert packed - {"PKG-INFO", ".gitignore"} == folders | {
        name for name in beside if (root / name).exists()
    }


def test_both_are_small(dist):
    assert {path.name: path.stat().st_size < LARGEST for path in dist.iterdir()} == dict.fromkeys(
        (path.name for path in dist.iterdir()), True
    )


def test_requirements_leave_torch_and_colab_alone(metadata, root):
    assert metadata["Version"] == nbpeft.__version__
    wanted = {r.name: r for r in map(Requirement, metadata.get_all("Requires-Dist"))}
    assert {part.operator for r in wanted.values() for part in r.specifier} <= {">="}
    assert wanted["torch"].specifier.contains("2.6.0")
    for line in (root / "constraints-colab.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, _, version = line.replace(".*", ".0").partition("==")
            assert wanted[name].specifier.contains(version), line
