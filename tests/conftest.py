"""What every suite shares: no network, nothing of the user's, a working folder of one's own."""

from __future__ import annotations

import atexit
import copy
import os
import shutil
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Before anything imports torch, a Hugging Face library or Jupyter: they read these once.
_HOME = Path(tempfile.mkdtemp(prefix="nbpeft-tests-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
_ENVIRONMENT = {
    "HF_HOME": _HOME / "huggingface",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "IPYTHONDIR": _HOME / "ipython",
    "JUPYTER_CONFIG_DIR": _HOME / "jupyter" / "config",
    "JUPYTER_DATA_DIR": _HOME / "jupyter" / "data",
    "JUPYTER_RUNTIME_DIR": _HOME / "jupyter" / "runtime",
    "MPLCONFIGDIR": ROOT / "build" / "matplotlib",  # its list of fonts takes seconds to make
    "XDG_CACHE_HOME": _HOME / "cache",
    "XDG_CONFIG_HOME": _HOME / "config",
    "XDG_DATA_HOME": _HOME / "share",
}
os.environ.update({name: str(value) for name, value in _ENVIRONMENT.items()})
os.environ.pop("MPLBACKEND", None)  # the kernel chooses
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in an empty folder, where its `adapters/` lands."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def _tiny():
    from nbpeft.tiny import load_tiny

    return load_tiny()


@pytest.fixture
def tiny_pair(_tiny):
    """The embedded model and its tokenizer, the test's own to spoil: `model, tokenizer`."""
    return copy.deepcopy(_tiny)
