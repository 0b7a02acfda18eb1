"""Recurrent layers: one macro for all steps, layers and directions."""

from collections.abc import Sequence

from bcai.bridge.guest.export.site import Family, Site
from bcai.bridge.guest.export.types import UnsupportedError
from bcai.vm.isa.symbol import Symbol

rule = Family()


@rule("lstm.input")
def _(
    at: Site, x: Symbol, states: Sequence[Symbol], weights: Sequence[Symbol], *rest: object
) -> list[Symbol]:
    return _layers(at, "Lstm", x, states, weights, rest)


@rule("gru.input")
def _(at: Site, x: Symbol, state: Symbol, weights: Sequence[Symbol], *rest: object) -> list[Symbol]:
    return _layers(at, "Gru", x, [state], weights, rest)


@rule("rnn_tanh.input", "rnn_relu.input")
def _(at: Site, x: Symbol, state: Symbol, weights: Sequence[Symbol], *rest: object) -> list[Symbol]:
    return _layers(at, "Rnn", x, [state], weights, rest)


def _layers(
    at: Site,
    name: str,
    x: Symbol,
    states: Sequence[Symbol],
    weights: Sequence[Symbol],
    rest: Sequence[object],
) -> list[Symbol]:
    bias, layers, dropout, training, bidirectional, batch_first = rest
    if training and dropout:
        raise UnsupportedError("dropout between recurrent layers (stack single layers instead)")
    hidden = states[0].shape[-1]
    per_direction = 4 if bias else 2
    if any(each.shape[-1] != hidden for each in weights[1::per_direction]):
        raise UnsupportedError("a projection of the state (proj_size)")
    more = {"nonlinearity": "relu" if "relu" in str(at.node.target) else "tanh"}
    shape = {"hidden": hidden, "layers": layers, "bidirectional": bidirectional}
    return list(
        at.all(
            name,
            x,
            *states,
            *weights,
            **shape,
            batch_first=batch_first,
            bias=bias,
            **(more if name == "Rnn" else {}),
        )
    )
