"""What stands between a batch and its loss, and serves every objective.

Rows of a batch packed without padding, logits only where there are labels, frozen weights without
gradients and in the dtype that the hardware is fast at. Objectives say which tokens they want the
log-probabilities of; nothing here knows which objective or method it serves.
"""
