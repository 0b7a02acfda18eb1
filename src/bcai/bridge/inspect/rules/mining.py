"""Work for somebody else: what programs that mine coins have in them."""

import re
from collections.abc import Iterator

from bcai.bridge.inspect.finding import Severity
from bcai.bridge.inspect.rule import Sighting, rule
from bcai.bridge.inspect.scene import Scene

_TELLS = re.compile(
    r"stratum\+(tcp|ssl)://|\b(xmrig|minerd|cpuminer|ethminer|cgminer|bfgminer|nbminer|phoenixminer)\b"
    r"|\b(cryptonight|randomx)\b|\b(nicehash|minexmr|supportxmr|2miners|nanopool|moneroocean)\b"
    r"|mining\.(subscribe|authorize|submit)",
    re.IGNORECASE,
)


@rule(
    "mining.tell",
    Severity.WARNING,
    "names a miner, a pool or their protocol",
    "a job has no network: no pool would hear of its work",
    fires=(
        "pool = 'stratum+tcp://pool.example:3333'\n",
        "command = ['./xmrig', '--donate-level', '1']\n",
    ),
    spares=("topic = 'text mining of pools'\n", "label = 'randomx_forest'\n"),
)
def name_miner(scene: Scene) -> Iterator[Sighting]:
    """By their names; a miner without any is seen by nobody here."""
    for node, text in scene.strings:
        found = _TELLS.search(text)
        if found is not None:
            yield Sighting(node, f"{found[0]!r} belongs to programs that mine coins")
