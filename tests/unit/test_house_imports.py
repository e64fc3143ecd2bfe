"""Imports go one way: front doors → run → families, session, data → words; and stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

# Bottom to top. A module imports from its own layer and those below.
LAYERS = (
    {
        "errors",
        "cells",
        "coerce",
        "registry",
        "events",
        "plan",
        "config",
        "request",
        "typed",
        "rendering",
        "architectures",
        "room",
        "writing",
    },
    {
        "beside",
        "guard",
        "generating",
        "mounts",
        "optimizers",
        "page",
        "precision",
        "quiet",
        "seam",
        "stop",
        "tuners",
        "widgets",
    },
    {
        "data",
        "feedback",
        "methods",
        "objectives",
        "places",
        "session",
        "settings",
        "teaching",
        "tiny",
    },
    {
        "bindings",
        "chains",
        "defaults",
        "prepare",
        "recording",
        "scoring",
        "scripts",
        "fitting",
        "heading",
        "lineage",
        "run",
        "closing",
        "comparison",
        "listing",
        "merging",
        "rating",
        "holding",
        "attaching",
        "standing",
        "surrounding",
        "upkeep",
        "variables",
    },
    {"views", "magics", "api", "background", "forms"},
)
# The four questions are answered apart (DESIGN). A type of another's contract may be named for
# the type checker, `nbpeft.methods.Method` say; one of its entries may not.
APART = {"methods", "objectives", "places", "views"}
LEVEL = {part: level for level, layer in enumerate(LAYERS) for part in layer}

HEAVY = {"torch", "transformers", "peft", "trl", "datasets", "accelerate", "pandas", "matplotlib"}


def imports(module: str, is_package: bool, source: str) -> Iterator[tuple[str, bool]]:
    """Every nbpeft module that a source names in an import, and whether only for types."""
    tree = ast.parse(source)
    guarded = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for statement in branch.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: None if is_package else -1]
            above = above[: len(above) - node.level + 1] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            targets = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            if target.split(".")[0] == "nbpeft":
                yield target, id(node) in guarded


def violations(sources: Mapping[str, str]) -> list[str]:
    """What a set of files (path in the package → source) imports against the rules."""
    found = []
    for path, source in sources.items():
        parts = ["nbpeft", *Path(path).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[: -1 if is_package else None])
        if module == "nbpeft":  # the public list: it names what it gives
            continue
        own = module.split(".")[1]
        if own not in LEVEL:
            found.append(f"{module} stands in no layer: add it to LAYERS")
            continue
        for target, for_types in imports(module, is_package, source):
            their = [*target.split("."), ""][1]
            entry = f"{Path(path).parts[0]}" != their and (
                f"{their}/{[*target.split('.'), '', ''][2]}.py" in sources
            )
            if their == "__version__":
                continue
            if their not in LEVEL:
                found.append(f"{module} imports {target}, which stands in no layer")
            elif LEVEL[their] > LEVEL[own]:
                found.append(f"{module} imports {target}, from a layer above")
            elif {own, their} <= APART and own != their and (entry or not for_types):
                found.append(f"{module} imports {target}: {own} and {their} stay apart")
    return found


def package_sources(root: Path) -> dict[str, str]:
    package = root / "nbpeft"
    return {
        path.relative_to(package).as_posix(): path.read_text(encoding="utf-8")
        for path in package.rglob("*.py")
    }


def test_imports_go_one_way(root):
    assert violations(package_sources(root)) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("errors.py", "import nbpeft.run"),
        ("session/planted.py", "from nbpeft.views import form"),
        ("methods/planted.py", "from nbpeft.objectives.sft import Sft"),
        ("methods/planted.py", "from nbpeft import objectives"),
        ("methods/planted.py", "from ..objectives import sft"),
        ("places/planted.py", "def f():\n    from nbpeft.methods import methods"),
        (
            "places/planted.py",
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from nbpeft.methods.lora import lora",
        ),
        ("planted.py", "import nbpeft.errors"),
        ("run/planted.py", "from nbpeft import planted"),
    ],
)
def test_a_planted_import_is_found(root, path, source):
    sources = package_sources(root)
    assert len(set(violations({**sources, path: source})) - set(violations(sources))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "import nbpeft",
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "shell.run_line_magic('load_ext', 'nbpeft')\n"
        "assert 'finetune' in shell.magics_manager.magics['cell']",
    ],
    ids=["import", "load_ext"],
)
def test_importing_loads_nothing_heavy(code):
    """Both are instant: none of the libraries that take seconds is there afterwards."""
    count = f"import sys\nprint([m for m in sys.modules if m.split('.')[0] in {HEAVY}])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{count}"], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
