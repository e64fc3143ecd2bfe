"""The Python calls: each builds a request, and calls the same piece as the magic of its name."""

from __future__ import annotations

from nbpeft.api.asking import compare, evaluate, rate
from nbpeft.api.keeping import (
    adapters,
    attach,
    delete,
    describe,
    execute_attach,
    execute_merge,
    export_adapter,
    merge,
    rename,
    save,
)
from nbpeft.api.kernel import execute_jobs, jobs, memory
from nbpeft.api.rows import execute_export, export, look
from nbpeft.api.runs import (
    distill,
    execute,
    execute_code,
    execute_fit,
    finetune,
    fit,
    form,
    open_form,
    show_code,
)

__all__ = [
    "adapters",
    "attach",
    "compare",
    "delete",
    "describe",
    "distill",
    "evaluate",
    "execute",
    "execute_attach",
    "execute_code",
    "execute_export",
    "execute_fit",
    "execute_jobs",
    "execute_merge",
    "export",
    "export_adapter",
    "finetune",
    "fit",
    "form",
    "jobs",
    "look",
    "memory",
    "merge",
    "open_form",
    "rate",
    "rename",
    "save",
    "show_code",
]
