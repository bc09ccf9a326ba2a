"""The OpenAI-compatible endpoint: /v1 for programs, with a personal key, under the same budget as a chat.

asking.py   reads what a program sends
calls.py    admits a call, runs it apart from its connection, settles it
shapes.py   what is answered
errors.py   every error in OpenAI's shape

Always metered by everything that was sent and everything that came, since a program sends the whole conversation each
time. No text is stored.
"""
