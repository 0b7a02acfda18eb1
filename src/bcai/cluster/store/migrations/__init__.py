"""The database's history, one file per revision; `migrate.py` runs it when a process starts."""
