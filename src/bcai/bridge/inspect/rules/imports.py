"""Packages that a node's import policy does not list."""

from collections.abc import Iterator

from bcai.bridge.inspect.finding import Severity
from bcai.bridge.inspect.policy import SETTING, ImportPolicy
from bcai.bridge.inspect.rule import Sighting, rule
from bcai.bridge.inspect.scene import Scene

_DEFAULT = ImportPolicy()


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
    policy = around.policy or _DEFAULT
    whose = "this node's" if around.policy else "the usual"
    for found in scene.imports:
        top = found.module.partition(".")[0]
        if policy.lists(top) or top in around.own_modules:
            continue
        is_there = around.is_installed is not None and around.is_installed(top)
        certain = found.certain and around.policy is not None and is_there
        yield Sighting(found.node, f"{whose} import policy does not list {top!r}", certain)
