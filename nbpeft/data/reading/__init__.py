"""How rows are read: the formats, which one fits, what is wrong, and the same in Python."""
