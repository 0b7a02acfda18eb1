"""Normalisations."""

from tests.conformance.onnx.importer import Node, Results, axis_of, onnx_op

from bcai.vm.isa.symbol import Symbol


@onnx_op("BatchNormalization")
def batch_normalization(node: Node) -> Results:
    x, weight, bias, mean, variance = (node[index] for index in range(5))
    eps = node.number("epsilon", 1e-5)
    if not node.integer("training_mode", 0):
        return node.emit("BatchNorm", x, weight, bias, mean, variance, eps=eps)
    axes = tuple(axis for axis in range(len(x.shape)) if axis != 1)
    own_mean = node.emit("Mean", x, axes=axes)
    own_variance = node.emit("Variance", x, axes=axes)
    y = node.emit("BatchNorm", x, weight, bias, own_mean, own_variance, eps=eps)
    kept = node.number("momentum", 0.9)
    return (
        y,
        mean * kept + own_mean * (1.0 - kept),
        variance * kept + own_variance * (1.0 - kept),
    )


@onnx_op("LayerNormalization")
def layer_normalization(node: Node) -> Results:
    x, weight, bias = node[0], node[1], node.get(2)
    axis = axis_of(node.integer("axis", -1), len(x.shape))
    eps = node.number("epsilon", 1e-5)
    shape = x.shape[axis:]
    y = node.emit(
        "LayerNorm",
        x,
        weight.expand(*shape),
        None if bias is None else bias.expand(*shape),
        axis=axis,
        eps=eps,
    )
    if not (node.wants(1) or node.wants(2)):
        return y
    axes = tuple(range(axis, len(x.shape)))
    mean = node.emit("Mean", x, axes=axes, keepdims=True)
    variance = node.emit("Variance", x, axes=axes, keepdims=True)
    return y, mean, node.emit("Reciprocal", node.emit("Sqrt", variance + eps))


@onnx_op("RMSNormalization")
def rms_normalization(node: Node) -> Results:
    x = node[0]
    axis = axis_of(node.integer("axis", -1), len(x.shape))
    weight = node[1].expand(*x.shape[axis:])
    return node.emit("RmsNorm", x, weight, axis=axis, eps=node.number("epsilon", 1e-5))


@onnx_op("GroupNormalization")
def group_normalization(node: Node) -> Results:
    x, groups = node[0], node.integer("num_groups")
    weight, bias = node[1], node[2]
    if node.version < 21:  # one number for each group
        weight, bias = (_per_channel(each, x.shape[1]) for each in (weight, bias))
    eps = node.number("epsilon", 1e-5)
    return node.emit("GroupNorm", x, weight, bias, groups=groups, eps=eps)


def _per_channel(x: Symbol, channels: int) -> Symbol:
    (groups,) = x.shape
    return x.reshape(groups, 1).expand(groups, channels // groups).reshape(channels)


@onnx_op("InstanceNormalization")
def instance_normalization(node: Node) -> Results:
    x, weight, bias = node[0], node[1], node[2]
    eps = node.number("epsilon", 1e-5)
    return node.emit("GroupNorm", x, weight, bias, groups=x.shape[1], eps=eps)
