"""The text that the embedded models are made of: a small invented world and a few skills.

`world` holds the facts, `names` the words and invented names, `styles` the ways of speaking,
`skills` one question and answer of each kind, `stories` raw prose, `corpus` the mixture that
pretraining reads, and `rows` the data sets. Everything is a function of a seed.
"""
