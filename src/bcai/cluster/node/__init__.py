"""The worker process: takes an assignment, runs it, reports how it ended."""
