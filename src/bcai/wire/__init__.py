"""Messages between SDK, gateway and nodes (pydantic)."""
