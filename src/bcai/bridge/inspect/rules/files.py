"""Files outside of the job's folder, and secrets of the machine."""

import ast
import re
from collections.abc import Iterator

from bcai.bridge.inspect.finding import Severity
from bcai.bridge.inspect.rule import Sighting, rule
from bcai.bridge.inspect.scene import Call, Scene

_WRITABLE = ("/job", "/tmp", "/dev", "/proc/self")  # noqa: S108 - as the jail has them
_OWN_FOLDERS = (*_WRITABLE, "/input")
_HARMLESS = ("/dev/", "/proc/self/fd", "/proc/cpuinfo", "/proc/meminfo", "/usr/share/zoneinfo",
             "/usr/lib", "/etc/localtime", "/sys/")  # fmt: skip
_OPENERS = ("open", "io.open", "codecs.open", "gzip.open", "bz2.open", "lzma.open")
_READERS = (
    "numpy.load", "numpy.loadtxt", "numpy.genfromtxt", "numpy.fromfile", "torch.load",
    "joblib.load",
    "pandas.read_csv", "pandas.read_json", "pandas.read_parquet", "pandas.read_pickle",
    "pandas.read_excel", "PIL.Image.open", "safetensors.torch.load_file", "h5py.File",
    "os.listdir", "os.scandir", "os.walk", "os.stat", "glob.glob", "pathlib.Path", "shutil.copy",
    "torchvision.datasets.ImageFolder", "zipfile.ZipFile", "tarfile.open",
)  # fmt: skip
_WRITERS = (
    "torch.save", "numpy.save", "numpy.savez", "joblib.dump", "numpy.savetxt", "os.mkdir",
    "os.makedirs", "safetensors.torch.save_file", "os.remove", "os.unlink", "shutil.rmtree",
)  # fmt: skip
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_WRITES = re.compile(r"[wax+]")
_SECRET_PATH = re.compile(
    r"/etc/(passwd|shadow|gshadow|sudoers|ssh/.*)"
    r"|(~|/root|/home/[^/\s]+)/\.(ssh|aws|gnupg|netrc|kube|docker|config/gcloud|bash_history)\S*"
    r"|/proc/(self|\d+|\{\})/(environ|mem|maps|cmdline|root|cwd)\S*"
    r"|(/var)?/run/(docker\.sock|secrets\S*)"
)
_WORDS = "KEY APIKEY TOKEN SECRET PASSWORD PASSWD CREDENTIALS CREDENTIAL"
_SECRET_WORDS = frozenset(_WORDS.split())


@rule(
    "file.write_outside",
    Severity.REFUSED,
    "writes outside of the job's folder",
    "write to the working folder, with a relative path; keep a file with bcai.output",
    fires=(
        "open('/results.txt', 'w')\n",
        "FOLDER = '/data'\nlog = open(FOLDER + '/log.txt', mode='a')\n",
    ),
    spares=(
        "open('results.txt', 'w')\nopen('/job/b', 'w')\nopen('/dev/null', 'w')\n",
        "def open(path, mode): ...\nopen('/results.txt', 'w')\n",
    ),
)
def write_outside(scene: Scene) -> Iterator[Sighting]:
    """Everything but the work folder and the shared memory is read-only."""
    for call in scene.calls(*_OPENERS):
        path, mode = _path(scene, call), scene.text(call.argument(1, "mode"))
        if mode is not None and _WRITES.search(mode) and _is_outside(path, _WRITABLE):
            certain = call.certain and call.name == "open" and call.is_plain
            yield Sighting(call.node, f"{path} is read-only in the jail", certain)
    for call in scene.calls(*_WRITERS):
        place = (
            1 if call.name in ("torch.save", "joblib.dump", "safetensors.torch.save_file") else 0
        )
        path = scene.text(call.argument(place, "filename"))
        if _is_outside(path, _WRITABLE):
            yield Sighting(call.node, f"{path} is read-only in the jail")


@rule(
    "file.read_outside",
    Severity.WARNING,
    "reads a file of one machine",
    "bring the file, and open it by its own name: bcai run --data FILE",
    fires=(
        "import pandas as pd\nframe = pd.read_csv('/mnt/data/train.csv')\n",
        "text = open('C:\\\\data\\\\train.txt').read()\n",
        "from pathlib import Path\nfolder = Path('/data/images')\n",
    ),
    spares=(
        "import pandas as pd\nframe = pd.read_csv('train.csv')\n",
        "text = open('/input/data/train.txt').read()\nopen('/proc/cpuinfo')\n",
    ),
)
def read_outside(scene: Scene) -> Iterator[Sighting]:
    """What the jail does not show cannot be found."""
    for call in scene.calls(*_OPENERS):
        path, mode = _path(scene, call), scene.text(call.argument(1, "mode"))
        if not (mode and _WRITES.search(mode)):
            yield from _unseen(call, path)
    for call in scene.calls(*_READERS):
        yield from _unseen(call, _path(scene, call))


def _unseen(call: Call, path: str | None) -> Iterator[Sighting]:
    is_drive = path is not None and _DRIVE.match(path)
    if _SECRET_PATH.fullmatch(path or ""):
        return  # another rule says more
    if is_drive or _is_outside(path, _OWN_FOLDERS + _HARMLESS):
        yield Sighting(call.node, f"{path} is not there in the jail")


@rule(
    "file.secret",
    Severity.WARNING,
    "names a file that holds secrets of a machine",
    "there is no such file in the jail, or it is the jail's own",
    fires=(
        "open('/etc/shadow').read()\n",
        "import os\nkey = os.path.expanduser('~/.ssh/id_rsa')\n",
        "path = '/proc/1/environ'\n",
    ),
    spares=(
        "'''Never reads /etc/shadow.'''\nname = '/etc/hostname'\n",
        "print('see ~/.ssh for keys')\n",
    ),
)
def name_secret(scene: Scene) -> Iterator[Sighting]:
    """Paths that only an attack needs."""
    for node, text in scene.strings:
        if text[0] in "/~" and _SECRET_PATH.fullmatch(text):
            yield Sighting(node, f"{text} holds secrets of a machine")


@rule(
    "file.environment",
    Severity.WARNING,
    "reads a secret from the environment",
    "the environment of a job holds nothing of yours, and a job needs no key",
    fires=(
        "import os\nkey = os.environ['AWS_SECRET_ACCESS_KEY']\n",
        "from os import getenv\ntoken = getenv('HF_TOKEN')\n",
    ),
    spares=(
        "import os\nos.environ['TOKENIZERS_PARALLELISM'] = 'false'\nhome = os.environ['HOME']\n",
        "import os\nos.environ['API_KEY'] = 'none'\n",
    ),
)
def read_environment(scene: Scene) -> Iterator[Sighting]:
    """Names with a word such as KEY or TOKEN in them."""
    for call in scene.calls("os.getenv", "os.environ.get", "os.environ.pop"):
        name = scene.text(call.argument(0, "key"))
        if _is_secret(name):
            yield Sighting(call.node, f"{name} is not set in the jail")
    for node in scene.subscripts:
        name = scene.text(node.slice)
        is_read = _is_secret(name) and isinstance(node.ctx, ast.Load)
        if is_read and "os.environ" in scene.meaning(node.value).names:
            yield Sighting(node, f"{name} is not set in the jail")


def _path(scene: Scene, call: Call) -> str | None:
    return scene.text(call.node.args[0] if call.node.args else call.keyword("file"))


def _is_outside(path: str | None, inside: tuple[str, ...]) -> bool:
    if path is None or "\n" in path:
        return False
    if not path.startswith("/") or "/.." in path:
        return False
    return not any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in inside)


def _is_secret(name: str | None) -> bool:
    return name is not None and not _SECRET_WORDS.isdisjoint(name.upper().split("_"))
