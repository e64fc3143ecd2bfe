"""Nothing in the repository names this machine or a registry's host."""

from __future__ import annotations

import subprocess

import pytest

# In two parts, so that this file doesn't hold them.
MACHINE = ["/" + "work/", "/" + "opt/wheels", "/" + "opt/pypi", "/" + "root/"]
HOSTS = [
    "pypi." + "org/simple",
    "files." + "pythonhosted.org",
    "registry." + "npmjs.org",
    "deb." + "debian.org",
    "download." + "pytorch.org",
]


@pytest.mark.parametrize("word", MACHINE + HOSTS)
def test_no_file_names_a_machine_or_a_registry(root, word):
    search = ["git", "grep", "--untracked", "--exclude-standard", "-lF", word]
    done = subprocess.run(search, cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == []
