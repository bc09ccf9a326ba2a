"""A metered call to a model: admitted, run, settled once, and recovered when its process is gone.

admission.admit reserves the budget and records the exchange → running.read calls the model → settling.settle counts
the result and charges it, along with whatever the caller saves in the same transaction. recovery settles exchanges
that were left open.
"""
