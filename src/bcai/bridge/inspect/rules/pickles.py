"""Files that are programs: loading one runs what its author wrote."""

import ast
from collections.abc import Iterator

from bcai.bridge.inspect.finding import Severity
from bcai.bridge.inspect.rule import Sighting, rule
from bcai.bridge.inspect.scene import Scene

_LOADERS = (
    "pickle.load", "pickle.loads", "pickle.Unpickler", "_pickle.load", "_pickle.loads", "dill.load",
    "dill.loads", "cloudpickle.load", "cloudpickle.loads", "joblib.load", "pandas.read_pickle",
    "shelve.open", "yaml.unsafe_load", "yaml.full_load", "marshal.load", "marshal.loads",
)  # fmt: skip


@rule(
    "pickle.load",
    Severity.NOTE,
    "loads a pickle, which may run any code",
    "the jail holds that code; safetensors, npy and JSON files run none",
    fires=(
        "import pickle\nvalue = pickle.load(open('x.pkl', 'rb'))\n",
        "import torch\nstate = torch.load('x.pt', weights_only=False)\n",
        "from joblib import load\nmodel = load('model.joblib')\n",
        "import numpy as np\nx = np.load('x.npy', allow_pickle=True)\n",
    ),
    spares=(
        "import torch\nstate = torch.load('x.pt')\n",
        "import numpy as np\nx = np.load('x.npy')\n",
        "import json\nvalue = json.loads('1')\n",
    ),
)
def load_pickle(scene: Scene) -> Iterator[Sighting]:
    """Whoever made the file decides what happens."""
    for call in scene.calls(*_LOADERS):
        yield Sighting(call.node, f"{call.name} runs what the file's author wrote")
    for name, keyword, value in (
        ("torch.load", "weights_only", False),
        ("numpy.load", "allow_pickle", True),
    ):
        for call in scene.calls(name):
            given = call.keyword(keyword)
            if isinstance(given, ast.Constant) and given.value is value:
                yield Sighting(
                    call.node, f"{name} with {keyword}={value} runs what the file's author wrote"
                )
