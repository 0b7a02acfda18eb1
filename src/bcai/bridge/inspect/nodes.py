"""All nodes of a tree by their class, in one walk: it is most of what an inspection costs."""

import ast
from collections import defaultdict
from typing import TypeVar, cast

_Node = TypeVar("_Node", bound=ast.AST)
_WITHOUT_PLACE = frozenset({"ctx", "op", "ops"})  # operators: nothing is ever said about them


class Nodes:
    """The nodes of one file."""

    def __init__(self, tree: ast.AST) -> None:
        self._by_class: dict[type[ast.AST], list[ast.AST]] = defaultdict(list)
        pending = [tree]
        for node in pending:  # it grows meanwhile
            self._by_class[node.__class__].append(node)
            for name in node._fields:
                if name in _WITHOUT_PLACE:
                    continue
                value: object = getattr(node, name, None)
                if isinstance(value, ast.AST):
                    pending.append(value)
                elif isinstance(value, list):
                    items = cast("list[object]", value)
                    pending += [item for item in items if isinstance(item, ast.AST)]

    def of(self, *kinds: type[_Node]) -> list[_Node]:
        """Nodes of these classes, outer ones first."""
        found: list[_Node] = []
        for kind in kinds:
            found += cast("list[_Node]", self._by_class.get(kind, []))
        return found
