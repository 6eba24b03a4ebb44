"""The bodies of requests, a module for each kind of thing that they are about."""
