"""Revisions, oldest first by name. A published one never changes; a new one extends it."""
