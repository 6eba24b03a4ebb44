"""Users, organizations, memberships, API keys and tenancy.

Doors for the other apps: `models`, `tenancy`, `permissions`, `authentication`, `services`. Imports none of them.
"""
