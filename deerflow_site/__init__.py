"""The composition root: settings, addresses and the pages of the site. It knows every app; no app knows it."""

__version__ = "0.1.0"
