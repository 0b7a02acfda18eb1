"""Untrusted Python. report.py is the small torch-free face (output, log, progress) of user code."""
