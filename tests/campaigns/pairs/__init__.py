"""Plants mistakes in pairs of networks, and counts what the microscope finds: `python -m tests.campaigns.pairs`.

A zoo of networks is written twice, once in PyTorch and once in Keras, as two people would who know nothing of each
other. Into one of the two a mistake is planted, of each kind that we could think of and at a random place, and
`find_parting` is asked: which layer, and why. Pairs in which nothing is wrong are looked at as well: there nothing may
be reported. What was found: docs/own-networks.md.
"""
