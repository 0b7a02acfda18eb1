"""Code that text does not show: computed, hidden, or reached around the usual names."""

import ast
from collections.abc import Iterator

from bcai.bridge.inspect.finding import Severity
from bcai.bridge.inspect.rule import Sighting, rule
from bcai.bridge.inspect.scene import Call, Scene

RUNNERS = ("exec", "eval", "compile")
_IMPORTERS = ("__import__", "importlib.import_module", "importlib.__import__")
_DECODERS_TEXT = """
b64decode urlsafe_b64decode b32decode b16decode b85decode a85decode unhexlify fromhex decompress
a2b_hex a2b_base64 loads rot13
"""
_DECODERS = frozenset(_DECODERS_TEXT.split())
_WALKS = ("__subclasses__", "__globals__", "f_globals", "f_builtins", "gi_frame", "cr_frame")
_ROOTS = ("__base__", "__bases__", "__mro__")


@rule(
    "dynamic.code",
    Severity.NOTE,
    "runs code that is computed",
    "inspection cannot see it; the jail holds it like all else",
    fires=("import sys\nexec(sys.argv[1])\n", "def f(x):\n    return eval(x)\n"),
    spares=(
        "import torch\nmodel = torch.nn.Linear(1, 1)\nmodel.eval()\n",
        "exec('x = 1')\n",
        "import re\nre.compile(str(1))\n",
    ),
)
def run_computed_code(scene: Scene) -> Iterator[Sighting]:
    """The argument is no constant, and so not looked into."""
    for call in scene.calls(*RUNNERS):
        if scene.text(call.argument(0, "source")) is None and not _is_hidden(scene, call):
            yield Sighting(call.node, f"what {call.name} runs cannot be seen here")


@rule(
    "dynamic.import",
    Severity.NOTE,
    "imports a module whose name is computed",
    "inspection cannot see which",
    fires=("import importlib, sys\nimportlib.import_module(sys.argv[1])\n", "__import__(input)\n"),
    spares=("import importlib\nimportlib.import_module('json')\n", "__import__('j' + 'son')\n"),
)
def import_computed(scene: Scene) -> Iterator[Sighting]:
    """The name is no constant."""
    for call in scene.calls(*_IMPORTERS):
        if scene.text(call.argument(0, "name")) is None and not _is_hidden(scene, call):
            yield Sighting(call.node, f"which module {call.name} imports cannot be seen here")


@rule(
    "dynamic.hidden",
    Severity.WARNING,
    "runs or imports what it first decodes",
    "write the code out; honest jobs need no disguise",
    fires=(
        "import base64\nexec(base64.b64decode('cHJpbnQoMSk='))\n",
        "import zlib, sys\nexec(zlib.decompress(sys.stdin.buffer.read()))\n",
        "__import__('sselprocbus'[::-1])\n",
        "import marshal\nexec(marshal.loads(open('x', 'rb').read()))\n",
    ),
    spares=(
        "import base64\npicture = base64.b64decode('cHJpbnQoMSk=')\n",
        "import json\nvalue = json.loads('1')\nexec('x = 1')\n",
    ),
)
def run_decoded(scene: Scene) -> Iterator[Sighting]:
    """The argument of exec, eval, compile or an import is decoded on the spot."""
    for call in scene.calls(*RUNNERS, *_IMPORTERS):
        if _is_hidden(scene, call):
            yield Sighting(call.node, f"{call.name} of something that is decoded first")


def _is_hidden(scene: Scene, call: Call) -> bool:
    """Whether decoding, or reading backwards, happens inside the argument."""
    argument = call.argument(0, "source")
    if isinstance(argument, ast.Name):
        values = scene.names.assigned.get(argument.id, ())
        argument = values[0] if len(values) == 1 else argument
    for node in ast.walk(argument) if argument is not None else ():
        match node:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in _DECODERS:
                return True
            case ast.Slice(step=ast.UnaryOp(op=ast.USub())):
                return True
            case _:
                pass
    return False


@rule(
    "dynamic.walk",
    Severity.WARNING,
    "walks through Python's insides",
    "import what you need by its name",
    fires=(
        "kinds = ().__class__.__base__.__subclasses__()\n",
        "def f(): ...\nf.__globals__['__builtins__']\n",
        "print('{0.__globals__}'.format(print))\n",
        "getattr(object, '__subclasses__')()\n",
    ),
    spares=(
        "class Base: ...\nkinds = Base.__subclasses__()\n",
        "class A:\n    def f(self):\n        return self.__class__.__name__\n",
    ),
)
def walk_insides(scene: Scene) -> Iterator[Sighting]:
    """How filters are got around: from any object to every class and module."""
    for name in _WALKS:
        for node in scene.attributes.get(name, ()):
            if name != "__subclasses__" or _starts_at_root(node.value):
                yield Sighting(node, f"{name} leads to everything that Python has loaded")
    for node, text in scene.strings:
        if "__subclasses__" in text or "__globals__" in text:
            yield Sighting(node, "a text that names Python's insides")


def _starts_at_root(node: ast.expr) -> bool:
    match node:
        case ast.Name(id="object" | "type") | ast.Attribute(attr="__base__"):
            return True
        case ast.Subscript(value=ast.Attribute(attr=name)):
            return name in _ROOTS
        case ast.Call(func=ast.Attribute(attr="mro")):
            return True
        case _:
            return False
