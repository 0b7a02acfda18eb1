"""One file, walked once and indexed, so that every rule only looks up what it is about."""

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bcai.bridge.inspect.certain import certain_nodes
from bcai.bridge.inspect.fold import Folder
from bcai.bridge.inspect.limits import STRING_CHARACTERS_MAX
from bcai.bridge.inspect.names import Meaning, Names
from bcai.bridge.inspect.nodes import Nodes
from bcai.bridge.inspect.policy import ImportPolicy


@dataclass(frozen=True, slots=True)
class Call:
    """A call of something whose name is known."""

    node: ast.Call
    name: str
    exact: bool  # it can be nothing else
    certain: bool  # it happens whenever the script runs, and is what it seems

    def argument(self, place: int, keyword: str) -> ast.expr | None:
        """Return an argument by position or name."""
        for item in self.node.keywords:
            if item.arg == keyword:
                return item.value
        arguments = self.node.args
        if place >= len(arguments) or any(
            isinstance(item, ast.Starred) for item in arguments[: place + 1]
        ):
            return None
        return arguments[place]

    def keyword(self, name: str) -> ast.expr | None:
        """Return an argument that has no position."""
        return self.argument(len(self.node.args), name)

    @property
    def is_plain(self) -> bool:
        """Whether every argument is written out: no `*args`, no `**options`."""
        return not any(isinstance(item, ast.Starred) for item in self.node.args) and all(
            item.arg is not None for item in self.node.keywords
        )


@dataclass(frozen=True, slots=True)
class Import:
    """One module that an import statement names."""

    node: ast.AST
    module: str
    certain: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known beside the file itself.

    Attributes
    ----------
    own_modules
        Top-level names that the job brings itself.
    own_paths
        Files and folders that appear in the working folder.
    is_entry
        The file is the script that starts.
    policy
        The node's import policy, or None where no node is known.
    is_installed
        Whether the node has a package; one that it lacks fails with another reason.
    may_start_programs
        The job asks for a security level at which programs, and what it builds, may run.
    """

    own_modules: frozenset[str] = frozenset()
    own_paths: frozenset[str] = frozenset()
    is_entry: bool = True
    policy: ImportPolicy | None = None
    is_installed: Callable[[str], bool] | None = None
    may_start_programs: bool = False


@dataclass(slots=True)
class Scene:
    """One file as rules see it."""

    names: Names
    folder: Folder
    surroundings: Surroundings
    imports: list[Import] = field(default_factory=list[Import])
    attributes: dict[str, list[ast.Attribute]] = field(
        default_factory=lambda: defaultdict[str, list[ast.Attribute]](list)
    )
    strings: list[tuple[ast.Constant, str]] = field(default_factory=list[tuple[ast.Constant, str]])
    subscripts: list[ast.Subscript] = field(default_factory=list[ast.Subscript])
    loops: list[ast.While] = field(default_factory=list[ast.While])
    certain: frozenset[int] = frozenset()
    decorators: set[int] = field(default_factory=set[int])
    _by_name: dict[str, list[Call]] = field(
        default_factory=lambda: defaultdict[str, list[Call]](list)
    )
    _by_method: dict[str, list[ast.Call]] = field(
        default_factory=lambda: defaultdict[str, list[ast.Call]](list)
    )

    def calls(self, *names: str) -> Iterator[Call]:
        """Calls of any of these dotted names."""
        for name in names:
            yield from self._by_name.get(name, ())

    def calls_below(self, prefix: str) -> Iterator[Call]:
        """Calls of whatever lies in a module, such as `torchvision.datasets.`."""
        for name, calls in self._by_name.items():
            if name.startswith(prefix):
                yield from calls

    def methods(self, *names: str) -> Iterator[ast.Call]:
        """Calls of attributes with these names, whatever they belong to."""
        for name in names:
            yield from self._by_method.get(name, ())

    def uses(self, *modules: str) -> bool:
        """Whether the file imports any of these packages."""
        tops = {found.module.partition(".")[0] for found in self.imports}
        return not tops.isdisjoint(modules)

    def decorates(self, node: ast.AST) -> bool:
        """Whether an expression stands as a decorator, without a call."""
        return id(node) in self.decorators

    def text(self, node: ast.AST | None) -> str | None:
        """Return the text that an expression gives, if it is computed from constants alone."""
        return None if node is None else self.folder.text(node)

    def meaning(self, node: ast.AST) -> Meaning:
        """Say what an expression stands for."""
        return self.names.resolve(node)

    def add_call(self, node: ast.Call) -> None:
        """Index a call."""
        if isinstance(node.func, ast.Attribute):
            self._by_method[node.func.attr].append(node)
        meaning = self.names.resolve(node.func)
        for name in meaning.names:
            certain = meaning.exact and id(node) in self.certain
            self._by_name[name].append(Call(node, name, meaning.exact, certain))

    def add_string(self, node: ast.Constant, text: str) -> None:
        """Index a text that is not too long to be a name or a path."""
        if 0 < len(text) <= STRING_CHARACTERS_MAX:
            self.strings.append((node, text))

    def add_import(self, node: ast.Import | ast.ImportFrom) -> None:
        """Index what an import statement names, but for the job's own relative modules."""
        certain = id(node) in self.certain
        if isinstance(node, ast.Import):
            self.imports += [Import(node, alias.name, certain) for alias in node.names]
        elif node.module and not node.level:
            self.imports.append(Import(node, node.module, certain))


def build_scene(tree: ast.Module, surroundings: Surroundings) -> Scene:
    """Walk a file once."""
    nodes = Nodes(tree)
    constants: dict[str, ast.expr] = {}
    folder = Folder(constants)
    names = Names(folder.text)
    _bind(nodes, names)
    constants.update(
        (name, values[0])
        for name, values in names.assigned.items()
        if len(values) == 1 and name not in names.other and name not in names.imported
    )
    scene = Scene(names, folder, surroundings)
    if surroundings.is_entry:
        scene.certain = certain_nodes(tree, nodes, names, surroundings.own_modules)
    _index(nodes, scene)
    return scene


def _bind(nodes: Nodes, names: Names) -> None:
    """Fill the table of names."""
    single: set[int] = set()  # stores that are accounted for
    for node in nodes.of(ast.Import, ast.ImportFrom):
        _bind_import(node, names)
    for node in nodes.of(ast.Assign, ast.AnnAssign, ast.NamedExpr):
        target = _only_target(node)
        if isinstance(target, ast.Name) and node.value is not None:
            names.assigned.setdefault(target.id, []).append(node.value)
            single.add(id(target))
    names.other.update(
        node.id
        for node in nodes.of(ast.Name)
        if node.ctx.__class__ is not ast.Load and id(node) not in single
    )
    for node in nodes.of(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef):
        names.other.add(node.name)
    names.other.update(node.arg for node in nodes.of(ast.arg))
    for node in nodes.of(ast.ExceptHandler, ast.MatchAs, ast.MatchStar):
        names.other.update([node.name] if node.name else [])


def _bind_import(node: ast.Import | ast.ImportFrom, names: Names) -> None:
    for alias in node.names:
        if isinstance(node, ast.Import):
            top = alias.name if alias.asname else alias.name.partition(".")[0]
            names.bind_import(alias.asname or top, top)
        elif node.module and not node.level:
            names.bind_import(alias.asname or alias.name, f"{node.module}.{alias.name}")
        else:
            names.other.add(alias.asname or alias.name)


def _only_target(node: ast.Assign | ast.AnnAssign | ast.NamedExpr) -> ast.expr | None:
    if isinstance(node, ast.Assign):
        return node.targets[0] if len(node.targets) == 1 else None
    return node.target


def _index(nodes: Nodes, scene: Scene) -> None:
    """Sort nodes by what they are about."""
    for node in nodes.of(ast.Call):
        scene.add_call(node)
    for node in nodes.of(ast.Attribute):
        scene.attributes[node.attr].append(node)
    for node in nodes.of(ast.Import, ast.ImportFrom):
        scene.add_import(node)
    scene.subscripts += nodes.of(ast.Subscript)
    scene.loops += nodes.of(ast.While)
    for node in nodes.of(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef):
        scene.decorators.update(id(decorator) for decorator in node.decorator_list)
    alone = {id(node.value) for node in nodes.of(ast.Expr)}  # docstrings: they are for readers
    for node in nodes.of(ast.Constant):
        if isinstance(node.value, str) and id(node) not in alone:
            scene.add_string(node, node.value)
