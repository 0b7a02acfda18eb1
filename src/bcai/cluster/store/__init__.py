"""Jobs and blobs on disk, behind protocols (SQLite, PostgreSQL)."""
