"""Tuners of nbpeft's own, registered with PEFT.

`import nbpeft.tuners` once, and `PeftModel.from_pretrained` loads adapters of these types.
"""

from nbpeft.tuners import bottleneck as _bottleneck  # registers itself

__all__: list[str] = []
del _bottleneck
