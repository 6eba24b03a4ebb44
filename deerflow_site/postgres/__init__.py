"""Django's backend for PostgreSQL, which tells everybody soon when the database is away."""
