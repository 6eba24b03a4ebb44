"""Measures the server as its clients see it: `make bench`. How to read what it prints: README.md beside this file."""
