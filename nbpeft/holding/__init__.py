"""Who holds memory: variables, outputs, old tracebacks, adapters; and letting go of it.

`blocks`: what an object leads to. `holders`: the names under which a kernel keeps objects.
`memory`: the answer as it is shown. `letting_go`: what is given up when it is asked for.
"""

from nbpeft.holding.memory import Memory, memory

__all__ = ["Memory", "memory"]
