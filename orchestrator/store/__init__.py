"""The memory: what was wanted, decided, bought, measured and paid, in SQLite or PostgreSQL, or in this process.

``sql.SqlStore`` and ``memory.MemoryStore`` fulfil the same ports and pass the same contract suite. Nothing is imported
here, so that a command that needs no database does not pay for one.
"""
