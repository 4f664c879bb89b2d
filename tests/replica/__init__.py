"""A primary and a streaming replica of PostgreSQL, with the router of ``docs``."""
