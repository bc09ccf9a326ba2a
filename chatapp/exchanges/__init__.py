"""A metered call to a model: admitted, run, settled once, and recovered when its process is gone.

admission.admit reserves the budget and notes the exchange → running.read asks the model → settling.settle counts what
came and charges it, with whatever the caller saves in the same transaction. recovery settles what was left open.
"""
