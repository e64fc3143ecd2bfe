"""What there is, as tables and pictures: the adapters, one of them in full, the methods."""
