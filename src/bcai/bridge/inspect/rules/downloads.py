"""Libraries that fetch models and data when they do not find them on the disk."""

import ast
import re
from collections.abc import Iterator

from bcai.bridge.inspect.finding import Severity
from bcai.bridge.inspect.rule import Sighting, rule
from bcai.bridge.inspect.scene import Scene

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_BUILDERS = "csv json parquet arrow text imagefolder audiofolder videofolder webdataset pandas"
_LOCAL_BUILDERS = frozenset(_BUILDERS.split())
_BRING = (
    "download it before, and bring the folder: bcai run --data FOLDER; then load it by its path "
    "with local_files_only=True"
)
_KERAS = tuple(
    f"{package}.datasets.{name}.load_data"
    for package in ("keras", "tensorflow.keras")
    for name in ("mnist", "fashion_mnist", "cifar10", "cifar100", "imdb", "reuters")
)
_TORCHVISION_DATA = "torchvision.datasets."
_TORCHVISION_MODELS = "torchvision.models."
_FETCHERS = (
    "nltk.download", "spacy.cli.download", "gdown.download", "kagglehub.dataset_download",
    "kagglehub.model_download", "tensorflow_datasets.load", "huggingface_hub.hf_hub_download",
    "huggingface_hub.snapshot_download", "wget.download", "gensim.downloader.load",
    "torch.hub.load_state_dict_from_url", "torch.hub.download_url_to_file",
    "torchvision.datasets.utils.download_url",
    "torchvision.datasets.utils.download_and_extract_archive",
)  # fmt: skip


@rule(
    "download.model",
    Severity.WARNING,
    "loads a pretrained model by its name on a hub",
    _BRING,
    fires=(
        "from transformers import AutoModel\nAutoModel.from_pretrained('bert-base-uncased')\n",
        "from transformers import pipeline\npipe = pipeline('sentiment-analysis')\n",
        "from sentence_transformers import SentenceTransformer\nSentenceTransformer('MiniLM')\n",
        "import timm\nmodel = timm.create_model('resnet18', pretrained=True)\n",
        "import torchvision\ntorchvision.models.resnet18(weights='DEFAULT')\n",
    ),
    spares=(
        "from transformers import AutoModel\n"
        "AutoModel.from_pretrained('./bert')\n"
        "AutoModel.from_pretrained('x', local_files_only=True)\n",
        "from transformers import BertConfig, BertModel\nBertModel(BertConfig())\n",
        "import torchvision\ntorchvision.models.resnet18(weights=None)\n",
        "class Net:\n    @classmethod\n    def from_pretrained(cls, path): ...\n"
        "Net.from_pretrained(open)\n",
    ),
)
def load_model(scene: Scene) -> Iterator[Sighting]:
    """By name, and not by a path that the job brings."""
    for node in scene.methods("from_pretrained", "from_hub"):
        name = scene.text(
            node.args[0] if node.args else _keyword(node, "pretrained_model_name_or_path")
        )
        if _is_on_hub(scene, name) and not _is_true(_keyword(node, "local_files_only")):
            yield Sighting(node, f"{name!r} would be fetched from a hub")
    for call in scene.calls("sentence_transformers.SentenceTransformer", "transformers.pipeline"):
        is_pipeline = call.name.endswith("pipeline")
        named = call.argument(1, "model") if is_pipeline else call.argument(0, "model_name_or_path")
        name = scene.text(named)
        if (named is None and is_pipeline) or _is_on_hub(scene, name):
            yield Sighting(
                call.node, f"{name or 'its default model'!r} would be fetched from a hub"
            )
    for call in scene.calls("timm.create_model"):
        if _is_true(call.argument(1, "pretrained")):
            yield Sighting(call.node, "pretrained weights would be fetched from a hub")
    for call in scene.calls_below(_TORCHVISION_MODELS):
        weights = call.keyword("weights")
        if _is_true(call.keyword("pretrained")) or not _is_nothing(weights):
            yield Sighting(call.node, "pretrained weights would be downloaded")


@rule(
    "download.hub",
    Severity.WARNING,
    "loads code from a repository",
    _BRING,
    fires=("import torch\nmodel = torch.hub.load('pytorch/vision', 'resnet18')\n",),
    spares=("import torch\nmodel = torch.hub.load('vision', 'resnet18', source='local')\n",),
)
def load_from_hub(scene: Scene) -> Iterator[Sighting]:
    """`torch.hub` asks GitHub even for what it has cached."""
    for call in scene.calls("torch.hub.load", "torch.hub.list", "torch.hub.help"):
        if scene.text(call.keyword("source")) != "local":
            yield Sighting(call.node, f"{call.name} needs a network")


@rule(
    "download.data",
    Severity.WARNING,
    "downloads data",
    "download it before, and bring it: bcai run --data FOLDER",
    fires=(
        "from torchvision import datasets\ndatasets.MNIST('data', download=True)\n",
        "from sklearn.datasets import fetch_openml\nx = fetch_openml('mnist_784')\n",
        "from datasets import load_dataset\ndata = load_dataset('imdb')\n",
        "import nltk\nnltk.download('punkt')\n",
        "from keras.datasets import mnist\nmnist.load_data()\n",
    ),
    spares=(
        "from torchvision import datasets\ndatasets.MNIST('data', download=False)\n",
        "from sklearn.datasets import load_digits\nx = load_digits()\n",
        "from datasets import load_dataset\ndata = load_dataset('csv', data_files='a.csv')\n",
    ),
)
def download_data(scene: Scene) -> Iterator[Sighting]:
    """Data sets that a library fetches."""
    yield from _load_library_data(scene)
    for call in scene.calls("datasets.load_dataset"):
        name = scene.text(call.argument(0, "path"))
        if name not in _LOCAL_BUILDERS and _is_on_hub(scene, name):
            yield Sighting(call.node, f"{name!r} would be fetched from a hub")
    for call in scene.calls(*_FETCHERS):
        if not _is_true(call.keyword("local_files_only")):
            yield Sighting(call.node, f"{call.name} needs a network")


def _load_library_data(scene: Scene) -> Iterator[Sighting]:
    for call in scene.calls_below(_TORCHVISION_DATA):
        if _is_true(call.keyword("download")):
            yield Sighting(call.node, f"{call.name} would download its data")
    for call in scene.calls_below("sklearn.datasets.fetch_"):
        if not _is_false(call.keyword("download_if_missing")):
            yield Sighting(call.node, f"{call.name} downloads its data")
    for call in scene.calls(*_KERAS):
        yield Sighting(call.node, f"{call.name} downloads its data")


def _is_on_hub(scene: Scene, name: str | None) -> bool:
    """Whether a name is one of a hub, and nothing that the job brings."""
    if not name or not _HUB_NAME.fullmatch(name) or name.startswith("."):
        return False
    own = scene.surroundings.own_paths
    return name not in own and name.partition("/")[0] not in own


def _keyword(node: ast.Call, name: str) -> ast.expr | None:
    return next((item.value for item in node.keywords if item.arg == name), None)


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _is_false(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _is_nothing(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)
