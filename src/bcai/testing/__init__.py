"""Fakes that pass the real thing's tests."""
