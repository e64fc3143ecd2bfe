"""Data for tuning elsewhere: the JSONL that hosted services take, checked against their schema.

    rows ─> lines (`openai`, `vertex`: one module a service) ─> checked by row ─> file, read back

`shape` is the small language that a schema is declared in, `service` what a service is; `lines`
goes from rows to lines and what is wrong with them, `file` writes, `export` goes the whole way.
"""

from __future__ import annotations

from nbpeft.data.hosting.export import export
from nbpeft.data.hosting.request import ExportRequest
from nbpeft.data.hosting.result import Exported

__all__ = ["ExportRequest", "Exported", "export"]
