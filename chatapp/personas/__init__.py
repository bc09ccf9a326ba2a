"""Personas to start a chat with, and prompts to begin a message with.

builtin.py  the personas that come with the product
models.py   those that people wrote
choice.py   what one person may choose
"""
