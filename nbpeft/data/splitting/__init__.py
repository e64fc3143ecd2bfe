"""Which rows are trained on and which are held out, with copies of a row on one side."""
