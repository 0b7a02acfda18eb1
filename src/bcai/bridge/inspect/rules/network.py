"""Networks: a job has none."""

import ast
import re
from collections.abc import Iterator

from bcai.bridge.inspect.finding import Severity
from bcai.bridge.inspect.rule import Sighting, rule
from bcai.bridge.inspect.scene import Scene

_NO_NETWORK = "a job has no network; bring what it needs as data files: bcai run --data FILE"
_URL = re.compile(r"(https?|ftp|s3|gs|hf)://", re.IGNORECASE)
_CERTAIN_URL = re.compile(r"https?://[\w.-]+", re.IGNORECASE)
_FETCHES = frozenset(
    {f"{module}.{verb}" for module in ("requests", "httpx")
     for verb in ("get", "post", "put", "patch", "delete", "head", "options")}
    | {"urllib.request.urlopen", "urllib.request.urlretrieve"}
)  # fmt: skip
_READERS = frozenset(
    {f"pandas.read_{kind}" for kind in ("csv", "table", "json", "parquet", "feather", "excel")}
    | {"polars.read_csv", "polars.read_parquet", "numpy.loadtxt", "numpy.genfromtxt",
       "imageio.imread", "skimage.io.imread"}
)  # fmt: skip
_SERVICES = (
    "wandb.init", "wandb.login", "mlflow.set_tracking_uri", "neptune.init_run",
    "comet_ml.Experiment", "boto3.client", "boto3.resource", "boto3.Session",
    "google.cloud.storage.Client",
    "huggingface_hub.login", "huggingface_hub.HfApi", "paramiko.SSHClient", "smtplib.SMTP",
    "smtplib.SMTP_SSL", "ftplib.FTP", "ftplib.FTP_TLS", "telnetlib.Telnet", "imaplib.IMAP4",
    "http.client.HTTPConnection", "http.client.HTTPSConnection", "aiohttp.ClientSession",
    "websocket.create_connection", "websockets.connect", "psycopg2.connect", "psycopg.connect",
    "pymysql.connect", "redis.Redis", "pymongo.MongoClient", "requests.Session",
    "torch.distributed.init_process_group", "torch.distributed.TCPStore", "ray.init",
    "xmlrpc.client.ServerProxy", "socket.gethostbyname", "socket.getaddrinfo",
)  # fmt: skip
_SERVERS = (
    "http.server.HTTPServer", "http.server.ThreadingHTTPServer", "socketserver.TCPServer",
    "socketserver.ThreadingTCPServer", "socketserver.UDPServer", "uvicorn.run", "flask.Flask",
)  # fmt: skip
_INTERNET = ("socket.AF_INET", "socket.AF_INET6")


@rule(
    "network.socket",
    Severity.REFUSED,
    "opens a network socket",
    _NO_NETWORK,
    fires=(
        "import socket\ns = socket.socket()\n",
        "import socket\ns = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n",
        "from socket import create_connection\ncreate_connection(('10.0.0.1', 80))\n",
    ),
    spares=(
        "import socket\ns = socket.socket(socket.AF_UNIX)\na, b = socket.socketpair()\n",
        "import socket\nprint(socket.gethostname())\n",
    ),
)
def open_socket(scene: Scene) -> Iterator[Sighting]:
    """Sockets of every family but Unix are refused when they are made."""
    for call in scene.calls("socket.socket", "socket.SocketType"):
        if call.keyword("fileno") is not None:
            continue
        family = call.argument(0, "family")
        names = ("socket.AF_INET",) if family is None else scene.meaning(family).names
        known = call.is_plain and len(names) == 1 and names[0] in _INTERNET
        if "socket.AF_UNIX" not in names:
            yield Sighting(call.node, "a network socket is refused", call.certain and known)
    for call in scene.calls("socket.create_connection", "socket.create_server"):
        yield Sighting(call.node, f"{call.name} needs a network", call.certain)
    for call in scene.calls(*_SERVERS):
        yield Sighting(call.node, f"{call.name} listens on a network", severity=Severity.WARNING)


@rule(
    "network.request",
    Severity.REFUSED,
    "fetches something from a network",
    _NO_NETWORK,
    fires=(
        "import urllib.request\nurllib.request.urlopen('https://example.com/data.csv')\n",
        "import requests\nURL = 'https://example.com'\npage = requests.get(URL + '/data').json()\n",
    ),
    spares=(
        "import requests\nURL = 'https://example.com'\nprint(URL)\n",
        "import urllib.request\nurllib.request.urlopen('file:///job/data.csv')\n",
        "headers = {}\nheaders.get('https://example.com')\n",
    ),
)
def fetch(scene: Scene) -> Iterator[Sighting]:
    """Certain where the address is written out; some of these take files, too."""
    for call in scene.calls(*_FETCHES):
        address = _address(scene, call.argument(0, "url"))
        if address is None or _URL.match(address):
            certain = call.certain and address is not None and _is_web(address)
            yield Sighting(call.node, f"{call.name} needs a network", certain)


@rule(
    "network.data",
    Severity.WARNING,
    "reads data from an address",
    _NO_NETWORK,
    fires=("import pandas as pd\nframe = pd.read_csv('https://example.com/data.csv')\n",),
    spares=("import pandas as pd\nframe = pd.read_csv('data.csv')\n",),
)
def read_address(scene: Scene) -> Iterator[Sighting]:
    """Readers of tables and pictures that take an address."""
    for call in scene.calls(*_READERS):
        address = _address(scene, call.node.args[0] if call.node.args else None)
        if address is not None and _URL.match(address):
            yield Sighting(call.node, f"{call.name} of an address needs a network")


@rule(
    "network.service",
    Severity.WARNING,
    "talks to a service over a network",
    "a job has no network; keep results with bcai.log and bcai.output",
    fires=(
        "import wandb\nwandb.init(project='x')\n",
        "import torch.distributed as dist\ndist.init_process_group('gloo')\n",
        "import boto3\ns3 = boto3.client('s3')\n",
    ),
    spares=("import wandb\nwandb.init(mode='offline')\n",),
)
def talk_to_service(scene: Scene) -> Iterator[Sighting]:
    """Clients that connect when they are made or first used."""
    for call in scene.calls(*_SERVICES):
        mode = scene.text(call.keyword("mode"))
        if mode not in ("offline", "disabled"):
            yield Sighting(call.node, f"{call.name} needs a network")


def _address(scene: Scene, node: ast.expr | None) -> str | None:
    """Return the constant beginning of an address."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node_text = scene.text(node.values[0])
        return scene.text(node) or node_text
    if isinstance(node, ast.BinOp):
        return scene.text(node) or scene.text(node.left)
    return scene.text(node)


def _is_web(address: str) -> bool:
    return _CERTAIN_URL.match(address) is not None
