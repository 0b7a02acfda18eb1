"""Packages that a node's import policy does not list."""

from collections.abc import Iterator

from bcai.bridge.inspect.finding import Severity
from bcai.bridge.inspect.policy import SETTING, allowed_packages, is_listed
from bcai.bridge.inspect.rule import Sighting, rule
from bcai.bridge.inspect.scene import Scene

_DEFAULT = allowed_packages()


@rule(
    "import.policy",
    Severity.REFUSED,
    "imports a package that is not on the import policy's list",
    f"ask the node's owner to allow it: {SETTING}",
    fires=("import fastapi\n", "from sqlalchemy.orm import Session\n"),
    spares=(
        "import torch, numpy.linalg, json, os.path, PIL.Image\nfrom sklearn import svm\n",
        "from . import model\nfrom .layers import Block\n",
    ),
)
def import_unlisted(scene: Scene) -> Iterator[Sighting]:
    """Certain only where the node's own list is known, and the package is there to be refused."""
    around = scene.surroundings
    allowed = _DEFAULT if around.allowed_imports is None else around.allowed_imports
    for found in scene.imports:
        top = found.module.partition(".")[0]
        if is_listed(top, allowed) or top in around.own_modules:
            continue
        known = around.allowed_imports is not None and around.installed is not None
        is_there = around.installed is not None and top in around.installed
        whose = "this node's" if known else "the usual"
        yield Sighting(
            found.node, f"{whose} import policy does not list {top!r}",
            certain=found.certain and known and is_there,
        )  # fmt: skip
