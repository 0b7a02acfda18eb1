"""Every attempt to get through the jail, declared once."""

from .attempt import Attempt
from .files import FILES
from .network import NETWORK
from .output import OUTPUT
from .processes import PROCESSES
from .python import PYTHON
from .resources import MEMORY, PROCESSOR
from .rights import RIGHTS
from .secrets import SECRETS

ATTEMPTS: tuple[Attempt, ...] = (
    *NETWORK, *FILES, *PROCESSES, *RIGHTS, *MEMORY, *PROCESSOR, *PYTHON, *OUTPUT, *SECRETS,
)  # fmt: skip
