"""What a name or attribute chain stands for, as far as the text tells: `sp.run`, `subprocess.run`.

One table for the whole file. A name that is bound in more than one way still stands for everything
that it may be, but is not `exact`, and nothing certain is ever said about it.
"""

import ast
import builtins
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bcai.bridge.inspect.limits import RESOLVE_DEPTH_MAX

_BUILTINS = frozenset(dir(builtins))
_CANDIDATES_MAX = 4
_SAME = (  # other names of one module
    ("posix.", "os."),
    ("torch.multiprocessing.", "multiprocessing."),
    ("multiprocessing.context.", "multiprocessing."),
    ("_socket.", "socket."),
    ("_io.", "io."),
    ("builtins.", ""),
    ("__builtins__.", ""),
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """The dotted names that an expression may stand for; builtins stand for themselves."""

    names: tuple[str, ...] = ()
    exact: bool = False


NOTHING = Meaning()
Fold = Callable[[ast.AST], str | None]


@dataclass(slots=True)
class Names:
    """The bindings of one file."""

    fold: Fold
    imported: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    assigned: dict[str, list[ast.expr]] = field(default_factory=dict[str, list[ast.expr]])
    other: set[str] = field(default_factory=set[str])  # parameters, loops, definitions
    _known: dict[int, Meaning] = field(default_factory=dict[int, Meaning])

    def is_bound(self, name: str) -> bool:
        """Whether the file binds the name itself, in whatever way."""
        return name in self.imported or name in self.assigned or name in self.other

    def bind_import(self, name: str, target: str) -> None:
        """`import target as name`."""
        targets = self.imported.setdefault(name, [])
        if target not in targets:
            targets.append(target)

    def resolve(self, node: ast.AST, depth: int = 0) -> Meaning:
        """Say what an expression stands for."""
        known = self._known.get(id(node))
        if known is not None:
            return known
        if depth > RESOLVE_DEPTH_MAX:
            return NOTHING
        self._known[id(node)] = NOTHING  # `a = a` ends here
        found = self._resolve(node, depth + 1)
        self._known[id(node)] = found
        return found

    def _resolve(self, node: ast.AST, depth: int) -> Meaning:
        match node:
            case ast.Name(id=name):
                return self._name(name, depth)
            case ast.Attribute(value=value, attr=attribute):
                return _member(self.resolve(value, depth), attribute)
            case ast.Call(func=function, args=arguments):
                return self._call(function, arguments, depth)
            case ast.Subscript(value=value, slice=key):
                return self._item(value, key, depth)
            case ast.NamedExpr(value=value) | ast.Await(value=value):
                return self.resolve(value, depth)
            case _:
                return NOTHING

    def _name(self, name: str, depth: int) -> Meaning:
        if not self.is_bound(name):
            return Meaning((name,), exact=True) if name in _BUILTINS else NOTHING
        targets = list(self.imported.get(name, ()))
        values = self.assigned.get(name, ())
        exact = len(targets) + len(values) == 1 and name not in self.other
        for value in values[:_CANDIDATES_MAX]:
            meaning = self.resolve(value, depth)
            exact = exact and meaning.exact
            targets += meaning.names
        return _meaning(targets, exact=exact)

    def _call(self, function: ast.AST, arguments: list[ast.expr], depth: int) -> Meaning:
        """What the ways of looking something up by its name give."""
        if not arguments:
            return NOTHING
        called = self.resolve(function, depth)
        for name in called.names:
            if name in ("__import__", "importlib.import_module", "importlib.__import__"):
                module = self.fold(arguments[0])
                if module and not module.startswith("."):
                    top = module.partition(".")[0] if name == "__import__" else module
                    return _meaning([top], exact=called.exact)
            if name == "getattr" and len(arguments) > 1:
                attribute = self.fold(arguments[1])
                owner = self.resolve(arguments[0], depth)
                return _member(owner, attribute) if attribute else NOTHING
            if name == "vars":
                return _member(self.resolve(arguments[0], depth), "__dict__")
        return NOTHING

    def _item(self, value: ast.AST, key: ast.AST, depth: int) -> Meaning:
        owner = self.resolve(value, depth)
        text = self.fold(key) if owner.names else None
        if not text:
            return NOTHING
        if "sys.modules" in owner.names:
            return _meaning([text], exact=owner.exact)
        inside = [name[: -len("__dict__")] for name in owner.names if name.endswith(".__dict__")]
        inside += ["" for name in owner.names if name == "__builtins__"]
        return _meaning([prefix + text for prefix in inside], exact=owner.exact)


def _member(owner: Meaning, attribute: str) -> Meaning:
    return _meaning([f"{name}.{attribute}" for name in owner.names], exact=owner.exact)


def _meaning(names: Iterable[str], *, exact: bool) -> Meaning:
    found = tuple(dict.fromkeys(_usual(name) for name in names))[:_CANDIDATES_MAX]
    return Meaning(found, exact and len(found) == 1) if found else NOTHING


def _usual(name: str) -> str:
    for other, usual in _SAME:
        if name.startswith(other):
            return usual + name[len(other) :]
    return name
