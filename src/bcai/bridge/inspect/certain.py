"""Which imports and calls happen whenever a script runs. A false refusal is worse than a miss.

Note [Certain]: the walk goes down the script's top level and into `if __name__ == "__main__"`. It
stops at the first statement after which the script may have ended, or may have changed what names
mean: a call of anything but a few well-known libraries, an import of the job's own module, a star
import, a `raise`, an endless loop. What stands in a branch, a loop, a function or a `try` is never
certain. A file that touches the import machinery, or sets an attribute of a module, has no certain
place at all.
"""

import ast
from collections.abc import Iterator

from bcai.bridge.inspect.names import Names
from bcai.bridge.inspect.nodes import Nodes
from bcai.bridge.inspect.policy import MACHINE_LEARNING

# Calls that come back, and change nothing that a rule relies on.
_BUILTINS_TEXT = """
print len range int float str bool list dict set tuple frozenset bytes bytearray abs min max sum
round sorted enumerate zip map filter reversed isinstance type repr format open id hash divmod
pow ord chr hex bin oct iter slice object complex vars dir super
"""
_HARMLESS_BUILTINS = frozenset(_BUILTINS_TEXT.split())
# Not those that call the script's own functions, and may leave the process for it.
_CALL_BACK = {"fire", "click", "hydra", "absl", "lightning", "pytorch_lightning", "pydantic"}
_STANDARD_TEXT = """
argparse collections copy csv dataclasses datetime functools glob gzip io itertools json logging
math operator pathlib pickle platform random re shutil statistics string struct tempfile time
typing uuid warnings zipfile hashlib base64 decimal fractions
"""
_HARMLESS_MODULES = (MACHINE_LEARNING - _CALL_BACK) | set(_STANDARD_TEXT.split())
_NAMES_TEXT = """
os.getcwd os.listdir os.makedirs os.mkdir os.getenv os.environ.get os.environ.setdefault
os.getpid os.cpu_count os.fspath os.remove os.rename os.walk os.scandir os.stat os.urandom
os.environ.update os.environ.pop os.getppid
sys.path.append sys.path.insert sys.stdout.write sys.stderr.write sys.stdout.flush
"""
_HARMLESS_NAMES = frozenset(_NAMES_TEXT.split())
# Whoever touches these may have changed what an import or a builtin does.
_TAMPERING_TEXT = """
modules meta_path path_hooks path_importer_cache __import__ __builtins__ setattr globals locals
__dict__ exec monkeypatch excepthook settrace displayhook
"""
_TAMPERING = frozenset(_TAMPERING_TEXT.split())
_TAMPERING_MODULES = frozenset({"builtins", "unittest", "mock", "importlib", "atexit"})
_SIMPLE = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr)


def certain_nodes(
    tree: ast.Module, nodes: Nodes, names: Names, own_modules: frozenset[str]
) -> frozenset[int]:
    """Return the `id` of each import statement and call that is certain; see Note [Certain]."""
    if _tampers(nodes):
        return frozenset()
    found: set[int] = set()
    pending: list[list[ast.stmt]] = [tree.body]
    while pending:
        for statement in pending.pop():
            if _is_main_guard(statement) and isinstance(statement, ast.If):
                pending.append(statement.body)  # what follows it is not looked at
                break
            found |= _certain_parts(statement, names)
            if not _goes_on(statement, names, own_modules):
                return frozenset(found)
    return frozenset(found)


def _tampers(nodes: Nodes) -> bool:
    if any(node.id in _TAMPERING for node in nodes.of(ast.Name)):
        return True
    for node in nodes.of(ast.Attribute):
        # `subprocess.run = ...`, or as harmless as `model.training = True`
        is_set = node.ctx.__class__ is not ast.Load and not _is_self(node.value)
        if is_set or node.attr in _TAMPERING:
            return True
    modules = [alias.name for node in nodes.of(ast.Import) for alias in node.names]
    modules += [node.module or "" for node in nodes.of(ast.ImportFrom)]
    return any(module.partition(".")[0] in _TAMPERING_MODULES for module in modules)


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _is_main_guard(statement: ast.stmt) -> bool:
    match statement:
        case ast.If(
            test=ast.Compare(
                left=ast.Name(id="__name__"),
                ops=[ast.Eq()],
                comparators=[ast.Constant(value="__main__")],
            )
        ):
            return True
        case _:
            return False


def _certain_parts(statement: ast.stmt, names: Names) -> set[int]:
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {id(statement)}
    if isinstance(statement, ast.While):
        return {id(statement)}
    value: ast.expr | None = None
    if isinstance(statement, _SIMPLE):
        value = statement.value
    elif isinstance(statement, ast.With) and statement.items:
        value = statement.items[0].context_expr
    if value is None:
        return set()
    found: set[int] = set()
    for call in _in_order(value):
        found.add(id(call))
        if not _is_harmless(call, names):
            break  # what is evaluated after it may never be
    return found


def _in_order(value: ast.expr) -> list[ast.Call]:
    """Calls that evaluating an expression makes in any case, in the order of their making."""
    found: list[ast.Call] = []
    pending: list[ast.AST] = [value]
    while pending:
        node = pending.pop()
        match node:
            case ast.Call(func=function, args=arguments, keywords=keywords):
                found.append(node)
                pending += [function, *arguments, *(item.value for item in keywords)]
            case ast.Attribute(value=inner) | ast.Starred(value=inner) | ast.UnaryOp(operand=inner):
                pending.append(inner)
            case ast.Subscript(value=inner, slice=key):
                pending += [inner, key]
            case ast.BinOp(left=left, right=right):
                pending += [left, right]
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                pending += parts
            case ast.BoolOp(values=[first, *_]) | ast.Compare(left=first):
                pending.append(first)
            case ast.IfExp(test=test):
                pending.append(test)
            case _:
                pass
    return sorted(found, key=lambda call: (call.end_lineno or 0, call.end_col_offset or 0))


def _goes_on(statement: ast.stmt, names: Names, own_modules: frozenset[str]) -> bool:
    """Whether the statement after this one runs, and names still mean what they did."""
    match statement:
        case ast.Import(names=aliases):
            return all(item.name.partition(".")[0] not in own_modules for item in aliases)
        case ast.ImportFrom(module=module, names=aliases, level=level):
            is_own = level or (module or "").partition(".")[0] in own_modules
            return not is_own and all(item.name != "*" for item in aliases)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return True
        case _:
            return all(_is_calm(node, names) for node in _outside_functions(statement))


def _outside_functions(statement: ast.stmt) -> Iterator[ast.AST]:
    """Yield the nodes that may run together with the statement."""
    pending: list[ast.AST] = [statement]
    while pending:
        node = pending.pop()
        yield node
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                pending.append(child)


def _is_calm(node: ast.AST, names: Names) -> bool:
    if isinstance(node, ast.Call):
        return _is_harmless(node, names)
    return not isinstance(
        node, ast.Raise | ast.While | ast.Assert | ast.Await | ast.Import | ast.ImportFrom
    )


def _is_harmless(call: ast.Call, names: Names) -> bool:
    meaning = names.resolve(call.func)
    return meaning.exact and all(_comes_back(name) for name in meaning.names)


def _comes_back(name: str) -> bool:
    if "." not in name:
        return name in _HARMLESS_BUILTINS
    top = name.partition(".")[0]
    return name in _HARMLESS_NAMES or top in _HARMLESS_MODULES or name.startswith("os.path.")
