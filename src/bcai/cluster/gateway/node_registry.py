"""Which nodes are connected to this gateway: one connection each, and the newest wins."""

from typing import Protocol


class NodeConnection(Protocol):
    """A node's connection, as far as the registry cares."""

    def supersede(self) -> None:
        """End this connection: the node has a newer one."""
        ...


class NodeRegistry:
    """The connected nodes by their id."""

    def __init__(self) -> None:
        self._connections: dict[str, NodeConnection] = {}

    def enter(self, node_id: str, connection: NodeConnection) -> None:
        """Register a connection and end the node's older one."""
        older = self._connections.get(node_id)
        self._connections[node_id] = connection
        if older is not None:
            older.supersede()

    def leave(self, node_id: str, connection: NodeConnection) -> None:
        """Forget a connection, unless a newer one took its place."""
        if self._connections.get(node_id) is connection:
            del self._connections[node_id]
