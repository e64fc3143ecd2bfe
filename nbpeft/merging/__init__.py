"""An adapter merged into the weights of its model, as a folder that `from_pretrained` loads.

`request` declares the options; `targets` says what can be merged, and into which weights; `layers`
merges one layer on a private copy; `tree` lets merged layers stand in the model for a while;
`drift` measures how far the merged model answers from the adapter; `folder` writes all or nothing;
`merge` goes the whole way.
"""

from nbpeft.merging.merge import merge
from nbpeft.merging.request import MergeRequest, merge_options
from nbpeft.merging.result import Drift, Merged

__all__ = ["Drift", "MergeRequest", "Merged", "merge", "merge_options"]
