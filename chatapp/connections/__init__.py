"""Model providers that an administrator connects on a page, without a restart. The environment goes before them.

models.py  what is stored, one row for each kind
seal.py    keys are stored encrypted
live.py    every process uses what is stored
"""
