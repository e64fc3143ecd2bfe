"""Adapters that are there already: given another name, deleted, put into a file to take away."""

from __future__ import annotations

from nbpeft.upkeep.deleting import delete
from nbpeft.upkeep.packing import pack
from nbpeft.upkeep.renaming import rename

__all__ = ["delete", "pack", "rename"]
