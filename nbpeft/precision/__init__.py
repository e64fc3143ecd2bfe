"""Precision as a state of the base: as loaded, or its linear layers in 4 or 8 bits, in place.

`layers` quantizes one linear layer with the code by which transformers loads a quantized model;
`originals` keeps what the layers held before, or knows where to read it again; `marks` sets what
transformers would have set on the model; `base` moves a model from state to state and back, bit for
bit; `checks` refuses what can't be quantized; `trap` keeps 4-bit layers trainable on every CPU;
`heap` gives freed memory back to the system.
"""

from nbpeft.precision.base import AS_LOADED, Precision

__all__ = ["AS_LOADED", "Precision"]
