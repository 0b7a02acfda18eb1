"""The environments that a node offers at this moment, and what becomes of them while it runs.

A look is cheap while nothing changes: one `stat` for each environment. Half of one is never seen,
since it gets its name when all of it is there, and loses it last (environment_folders.py).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from bcai.base.errors import BcaiError
from bcai.cluster.node.environment_folders import clear_retired
from bcai.cluster.node.environments import (
    MANIFEST,
    NodeEnvironment,
    environment_names,
    environments_folder,
    own_environment,
    read_environment,
)
from bcai.jobs.environment import OWN_NAME

LOOK_S = 1.0

logger = logging.getLogger(__name__)

Mark = tuple[int, int]  # what tells an environment from one that had its name before


@dataclass(frozen=True, slots=True)
class Shelf:
    """What was found in one look.

    Attributes
    ----------
    environments
        By name, the node's own first; they are whole.
    marks
        Of every folder that was looked into, damaged ones too: these are not read again.
    """

    environments: Mapping[str, NodeEnvironment]
    marks: Mapping[str, Mark] = field(default_factory=dict[str, Mark])


def first_look(home: Path) -> Shelf:
    """Read all environments; what is damaged is named in the log, and not offered."""
    shelf = look_again(home, Shelf({OWN_NAME: own_environment()}))
    logger.info("environments: %s", ", ".join(shelf.environments))
    return shelf


def look_again(home: Path, before: Shelf) -> Shelf:
    """Read what is new since an earlier look, and leave out what is gone."""
    found = {OWN_NAME: before.environments[OWN_NAME]}
    marks: dict[str, Mark] = {}
    for name in environment_names(home):
        mark = marks[name] = _mark(environments_folder(home) / name)
        if mark != before.marks.get(name):
            try:
                found[name] = read_environment(home, name)
            except BcaiError as error:
                logger.warning("not offered: %s; %s", error, error.hint)
        elif name in before.environments:
            found[name] = before.environments[name]
    return Shelf(found, marks)


async def keep_stocked(home: Path, shelf: Shelf, on_change: Callable[[Shelf], None]) -> None:
    """Look again and again; tell what is offered whenever that has changed."""
    trouble = ""
    while True:
        await anyio.sleep(LOOK_S)
        before = shelf
        try:
            shelf = await anyio.to_thread.run_sync(_tidy_and_look, home, before)
            trouble = ""
        except OSError as error:  # jobs can do without a look; it is said once
            if str(error) != trouble:
                logger.warning("environments cannot be looked at: %s", error)
            trouble = str(error)
        if shelf.environments != before.environments:
            logger.info("environments now: %s", ", ".join(shelf.environments))
            on_change(shelf)


def _tidy_and_look(home: Path, before: Shelf) -> Shelf:
    clear_retired(environments_folder(home))
    return look_again(home, before)


def _mark(folder: Path) -> Mark:
    """Tell whether a folder is the one that was read; one without a manifest is damaged."""
    try:
        found = (folder / MANIFEST).stat()
    except OSError:
        return (0, 0)
    return (found.st_ino, found.st_mtime_ns)
