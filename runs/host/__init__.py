"""The host: hands pending runs to engines, keeps their leases, and puts right what goes wrong with them.

It runs on the event loop of the process that serves HTTP (or of a worker); no graph does.
"""
