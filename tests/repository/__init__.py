"""The repository checks itself: what a reviewer would otherwise have to remember."""
