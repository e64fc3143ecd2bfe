"""A run as plain code: the script of transformers, peft and trl that does the same without nbpeft.

    script_of(ready) ─> Script: its text, and what is nbpeft's own

`models`, `rows` and `tokens` write what every run has; `methods` and `objectives` are two tables of
names, each with what writes it: what isn't there is nbpeft's own. `assembling` puts it together.
"""

from __future__ import annotations

from nbpeft.scripts.assembling import script_of
from nbpeft.scripts.script import Script

__all__ = ["Script", "script_of"]
