"""How results lie in memory, run by torch alone and captured: strides, and what depends on them.

The file is a script: `found` has a line for each operation. Values are whole numbers, so they are
the same to the bit.
"""

import copy
import io
from typing import Any, cast

import torch as installed
from torch import nn

torch: Any = installed
found: dict[str, Any] = {}


def whole(*sizes: int) -> Any:
    count = int(torch.Size(sizes).numel())
    return (torch.arange(count, dtype=torch.float32) % 7 - 3).reshape(sizes)


def note(name: str, tensor: Any) -> None:
    """Strides, what torch says of them, and the values as they lie."""
    try:
        flat = tensor.detach().view(-1).tolist()
    except RuntimeError as error:
        flat = str(error)
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    lies: list[Any] = [list(tensor.stride()), tensor.is_contiguous(), last, tensor.storage_offset()]
    array = tensor.detach().numpy()
    steps = [step for size, step in zip(array.shape, array.strides, strict=True) if size > 1]
    lies.append(steps if name != "strided" else [])  # an array is a copy, which has no gaps
    found[name] = [*lies, tensor.detach().tolist(), flat]


u, c = whole(2, 3).t(), whole(2, 3, 4, 4).to(memory_format=torch.channels_last)
swapped = whole(2, 3, 4).permute(2, 0, 1)
for name, x in {"u": u, "c": c, "swapped": swapped}.items():
    note(name, x)
    note(f"{name} + itself", x + x)
    note(f"{name} * 2", x * 2)
    note(f"relu {name}", x.relu())
    note(f"{name} > 0", x > 0)
    note(f"where {name}", torch.where(x > 0, x, -x))
    note(f"clone {name}", x.clone())
    note(f"contiguous {name}", x.contiguous())
    note(f"zeros_like {name}", torch.zeros_like(x))
    note(f"full_like {name}", torch.full_like(x, 2))
    note(f"double {name}", x.double())
    note(f"{name} + a plain one", x + whole(*x.shape))
    note(f"a plain one + {name}", whole(*x.shape) + x)
    note(f"sum {name}", x.sum(0))
    note(f"cumsum {name}", x.cumsum(0))
    note(f"cat {name}", torch.cat([x, x]))
    note(f"stack {name}", torch.stack([x, x]))
    note(f"flip {name}", x.flip(0))
    note(f"part of {name}", x[1:] * 2)
    note(f"sorted {name}", x.sort(0).values)
    note(f"reshape {name}", (x + 1).reshape(-1))
    y = x + 1
    y += 2
    y[0].mul_(3)
    y.transpose(0, 1)[0] = 5
    note(f"written {name}", y)
    note(f"copied {name}", copy.deepcopy(y))
    file = io.BytesIO()
    torch.save(y, file)
    file.seek(0)
    note(f"loaded {name}", torch.load(file) + 1)
    w = x.clone().requires_grad_()
    (w * w).sum().backward()
    note(f"slope {name}", w.grad)
    with torch.no_grad():
        w -= w.grad
    note(f"step {name}", w)

one = whole(2, 1, 3, 3).to(memory_format=torch.channels_last)  # contiguous in both orders
for name, y in {"one": one, "sum": one + one, "product": one * 2, "relu": one.relu()}.items():
    note(f"one: {name}", y)
note("one: where", torch.where(one > 0, one, -one))
note("one: clone", one.clone())
note("one: with a plain one", one + whole(2, 1, 3, 3))

note("slope forward", torch.func.jvp(torch.square, (u,), (u,))[1])
note("expanded", whole(3, 1).expand(3, 4) + 1)
note("turned by rows", u + whole(2))
note("u @ u.t()", u @ u.t())
note("strided", torch.empty_strided((2, 3), (1, 4)).fill_(2))
conv = nn.Conv2d(3, 2, 3, padding=1)
with torch.no_grad():
    for each in conv.parameters():
        each.copy_(whole(*each.shape))
note("conv c", conv(c))
note(
    "conv of channels last",
    cast("Any", conv).to(memory_format=torch.channels_last)(whole(2, 3, 4, 4)),
)
note("its weight", conv.weight)
conv(c).sum().backward()
note("its slope", conv.weight.grad)
optimizer = torch.optim.SGD(conv.parameters(), lr=1.0)
optimizer.step()
note("its weight after a step", conv.weight)
note("max_pool2d c", nn.functional.max_pool2d(c, 2))
note("avg_pool2d c", nn.functional.avg_pool2d(c, 2))
note("interpolate c", nn.functional.interpolate(c, scale_factor=2.0, mode="nearest"))
note("pad c", nn.functional.pad(c, (1, 1)))
note("flatten c", c.flatten(1))
