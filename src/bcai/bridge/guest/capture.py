"""Keeps the results that a script left in its top-level variables."""

import sys
from typing import Any, cast

from bcai.bridge.guest.channel import Channel
from bcai.bridge.guest.encode import Encoded, NotKept, encode_variable
from bcai.bridge.guest.inputs import Inputs
from bcai.bridge.report import given

_NAMES_MAX = 1000


def capture_variables(variables: dict[str, object], channel: Channel) -> None:
    """Keep every variable that is a result; warn about those that are too large.

    The smallest first, so that one large array does not push out the loss.
    """
    inputs = given()
    found: list[tuple[str, Encoded]] = []
    for name, value in list(variables.items())[:_NAMES_MAX]:
        if name.startswith("_") or name in channel.named or value is None or _is_noise(value):
            continue
        try:
            if isinstance(inputs, Inputs) and inputs.has_unchanged(value):
                continue
            found.append((name, encode_variable(value)))
        except NotKept as error:
            if not error.silent:
                _warn(channel, name, str(error), too_large=error.too_large)
        except Exception as error:  # noqa: BLE001 - a module's state_dict() is the user's code
            _warn(channel, name, f"{type(error).__name__}: {error}")
    for name, encoded in sorted(found, key=lambda pair: pair[1].size):
        try:
            channel.keep(name, encoded)
        except NotKept as error:
            _warn(channel, name, str(error), too_large=error.too_large)


def _warn(channel: Channel, name: str, why: str, *, too_large: bool = False) -> None:
    limit = ", ask for a higher limit" if too_large else ""
    channel.warn(
        f"the variable {name!r} was not kept: {why}. Keep a part of it with "
        f"bcai.output({name!r}, ...){limit}, or call it _{name}"
    )


def _is_noise(value: object) -> bool:
    """What is never a result: modules, functions, classes, optimizers, paths, bytes."""
    if isinstance(value, type(sys) | type | bytes) or (callable(value) and not _is_torch(value)):
        return True
    optimizers = cast("Any", sys.modules.get("torch.optim"))
    return hasattr(optimizers, "Optimizer") and isinstance(value, optimizers.Optimizer)


def _is_torch(value: object) -> bool:
    torch = cast("Any", sys.modules.get("torch.nn"))
    return hasattr(torch, "Module") and isinstance(value, torch.Module)
