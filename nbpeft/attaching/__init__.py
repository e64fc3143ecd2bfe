"""What a model is asked to answer as: an adapter, none, a new one, a sum, or one from elsewhere.

`request` declares the options, `attach` does what was asked: `by_hand` sets up untrained adapters,
`loading` takes in those of other folders (`folders` reads them) and of the `hub`.
"""

from nbpeft.attaching.attach import attach, count_only
from nbpeft.attaching.by_hand import Sizes
from nbpeft.attaching.request import AttachRequest, attach_options

__all__ = ["AttachRequest", "Sizes", "attach", "attach_options", "count_only"]
