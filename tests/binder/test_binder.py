"""Binder's steps, in its order, in an environment that has nothing but CPU torch."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def image(root, tmp_path_factory):
    """The repository's files and an environment; `run(*command)` is a step of the build."""
    folder = tmp_path_factory.mktemp("binder")
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listing, cwd=root, capture_output=True, text=True, check=True).stdout
    for name in filter(lambda name: (root / name).exists(), files.splitlines()):
        (folder / "home" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, folder / "home" / name)
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    yield Image(folder / "home", folder / "env")
    shutil.rmtree(folder)


class Image:
    """What Binder would build, without the container."""

    def __init__(self, home: Path, environment: Path):
        self.home = home
        self.environ = {
            **os.environ,
            "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PIP_NO_CACHE_DIR": "0",  # what a test before this one has fetched need not come again
            "UV_NO_CACHE": "0",
        }

    def run(self, *command):
        done = subprocess.run(
            command, cwd=self.home, env=self.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout


def test_the_steps_give_an_image_that_runs_and_opens_on_the_quickstart(image):
    wanted = (image.home / "binder" / "runtime.txt").read_text().strip()
    assert wanted == "python-3.11"

    image.run("sh", "tools/cpu-torch.sh", "python")
    image.run("pip", "install", "--quiet", "-r", "binder/requirements.txt")
    image.run("bash", "binder/postBuild")
    packages = image.run("pip", "list", "--format=freeze").splitlines()
    assert not [name for name in packages if name.startswith("nvidia")], "CPU torch"

    assert "[nbpeft] comparison" in image.run("python", "notebooks/run.py")
    assert opens_on(image) == "/lab/tree/notebooks/01-one-cell.ipynb"


def opens_on(image):
    """Where JupyterLab of the image sends a browser that asks for /."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token="]
    server = subprocess.Popen(
        ["jupyter", "lab", "--ip=127.0.0.1", *flags],
        cwd=image.home,
        env=image.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                    return answer.url.partition(str(port))[2]
            except OSError:
                assert server.poll() is None, "jupyter lab ended"
                time.sleep(0.5)
    finally:
        server.terminate()
        server.wait(20)
    return None
