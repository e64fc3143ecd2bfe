"""Rows as token ids, with those that are trained marked; what was counted, and what is refused."""
