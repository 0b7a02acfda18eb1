"""Moves jobs from one state to the next, one file per state that it empties."""
