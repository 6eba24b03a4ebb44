"""Assistants, threads and runs: what a caller asks for, how it is executed, and the log of everything that happened.

Doors for other apps: `models`, `services`, `states`, `signals`.
"""
