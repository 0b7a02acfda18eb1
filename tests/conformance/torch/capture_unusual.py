"""What training scripts do beside a plain loop, run by torch alone and captured.

The file is a script: what it finds is in `found`, one list of numbers for each function below.
Threads, views, sparse tensors and complex numbers are where a tensor without contents could be
read unnoticed.
"""

import copy
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import torch as installed
from tests.conformance.torch.deterministic import data, filled, numbers, small, trained
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.utils.data import DataLoader, TensorDataset

torch: Any = installed
checkpoint: Any = __import__("torch.utils.checkpoint", fromlist=["x"]).checkpoint
FOUND: dict[str, Callable[[], list[Any]]] = {}


def script(run: Callable[[], list[Any]]) -> Callable[[], list[Any]]:
    FOUND[run.__name__] = run
    return run


@script
def compiled() -> list[Any]:
    model = small()
    fast = torch.compile(model)
    return trained(model, lambda: (fast(data(5, 4)) ** 2).mean())


@script
def workers() -> list[Any]:
    model, rows = small(), TensorDataset(data(16, 4) * 2, torch.arange(16) % 2)
    batches = iter(DataLoader(rows, batch_size=4, num_workers=1))

    def loss() -> Any:
        x, y = next(batches)
        return nn.functional.cross_entropy(model(x), y)

    return trained(model, loss)


@script
def threads() -> list[Any]:
    x = data(6) * 2

    def slope(factor: int) -> Any:
        w = (x * factor).requires_grad_()
        (w**2).sum().backward()
        return w.grad

    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(slope, range(4)))


class Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.clamp(-0.5, 0.5)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * (ctx.saved_tensors[0].abs() <= 0.5) * 2


@script
def function() -> list[Any]:
    x = data(4, 3).requires_grad_()
    y = cast("Any", Clipped).apply(x * 2)
    y.pow(2).sum().backward()
    return [y, x.grad]


@script
def functional() -> list[Any]:
    model = small()
    weights = {name: each.detach() for name, each in model.named_parameters()}

    def loss(given: Any, x: Any) -> Any:
        return (functional_call(model, given, (x,)) ** 2).mean()

    def summed(x: Any) -> Any:
        return model(x).sum()

    each = cast("Any", vmap(grad(loss), in_dims=(None, 0)))(weights, data(6, 4))
    return [*each.values(), torch.func.hessian(summed)(data(4))]


@script
def hooks() -> list[Any]:
    model, seen = small(), cast("list[Any]", [])

    def larger(_module: Any, _given: Any, out: Any) -> Any:
        return out * 1.5

    def look(_module: Any, _given: Any, out: Any) -> None:
        seen.append(out[0].norm().item())

    def clamped(slope: Any) -> Any:
        return slope.clamp(-0.2, 0.2)

    model[0].register_forward_hook(larger)
    model[1].register_full_backward_hook(look)
    for each in model.parameters():
        each.register_hook(clamped)
    return [*trained(model, lambda: (model(data(5, 4)) ** 2).mean()), *seen]


@script
def autocast() -> list[Any]:
    model = filled(nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2)))

    def loss() -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return nn.functional.cross_entropy(model(data(6, 4)), torch.arange(6) % 2)

    return trained(model, loss)[:3]


@script
def recomputed() -> list[Any]:
    model = small()
    x = data(5, 4).requires_grad_()
    return trained(model, lambda: checkpoint(model, x, use_reentrant=False).mean())


@script
def views() -> list[Any]:
    x = data(6, 8).requires_grad_()
    y = x * 1
    y[1:4, ::2].mul_(3)
    y.t()[2].zero_()
    y.view(-1)[::7].sub_(0.5)
    y[y > 1] = 1.0
    y.diagonal().add_(0.1)
    (y**2).sum().backward()
    z = torch.zeros(4, 4)
    z[torch.tensor([0, 2]), torch.tensor([1, 3])] = 5
    part = torch.as_strided(z, (3, 3), (4, 1), 1)
    part += 1
    bits = data(4)
    bits.view(torch.int32).add_(1)
    return [y, x.grad, z, bits]


@script
def complexes() -> list[Any]:
    x = data(8).requires_grad_()
    spectrum = torch.fft.fft(x)
    (spectrum.abs() ** 2).sum().backward()
    turned = torch.view_as_complex(data(4, 2))
    turned.mul_(1j)
    return [spectrum.abs(), x.grad, torch.view_as_real(turned)]


@script
def scheduled() -> list[Any]:
    model = small()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, amsgrad=True)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=6)

    def clip(*_: Any) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)

    def next_rate(*_: Any) -> None:
        rates.step()

    optimizer.register_step_pre_hook(clip)
    optimizer.register_step_post_hook(next_rate)
    return trained(model, lambda: (model(data(6, 4)) ** 2).mean(), optimizer)


@script
def searched() -> list[Any]:
    model = filled(nn.Linear(4, 1))
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimizer.zero_grad()
        loss = ((model(data(9, 4)) - data(9, 1, pitch=0.5)) ** 2).mean()
        loss.backward()
        return loss

    return [optimizer.step(closure), optimizer.step(closure), model.weight]


@script
def padded() -> list[Any]:
    words = nn.Embedding(10, 4, padding_idx=0)
    with torch.no_grad():
        words.weight.copy_(data(10, 4))
    ids = torch.tensor([[1, 2, 0], [4, 5, 0]])
    return trained(words, lambda: (words(ids) ** 2).sum())


@script
def saved() -> list[Any]:
    model = filled(nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.Linear(8, 1)))
    found = trained(model, lambda: (model(data(6, 4)) ** 2).mean())
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    found += trained(model, lambda: (model(data(6, 4)) ** 2).mean())
    file.seek(0)
    model.load_state_dict(torch.load(file))
    found += trained(model, lambda: (model(data(6, 4)) ** 2).mean())
    kept = copy.deepcopy(model).eval()
    with torch.inference_mode():
        return [*found, kept(data(3, 4))]


@script
def sparse() -> list[Any]:
    values = torch.ones(2) * 3
    matrix = torch.sparse_coo_tensor(torch.tensor([[0, 1], [1, 0]]), values, (2, 2))
    found = [matrix.to_dense()]
    values.mul_(2)  # which the matrix sees
    found.append(matrix.to_dense())
    matrix.mul_(2)
    matrix._values().add_(1)
    rows = data(4, 4).relu().to_sparse_csr()
    found += [values + 1, (matrix + matrix).to_dense(), rows @ data(4, 2), rows.values()]
    words = filled(nn.Embedding(10, 4, sparse=True))
    optimizer = torch.optim.SparseAdam(list(words.parameters()), lr=0.1)
    ids = torch.tensor([1, 2, 2, 5])
    return [*found, *trained(words, lambda: (words(ids) ** 2).sum(), optimizer)]


@script
def default_type() -> list[Any]:
    found: list[Any] = []
    for each in (torch.float32, torch.float64, torch.float32):
        torch.set_default_dtype(each)
        whole = torch.arange(4)
        made = (torch.zeros(3), whole / 3, whole.sqrt(), torch.full((2,), 0.1), torch.ones(2) * 0.1)
        found += [value for one in made for value in (one, one.dtype.itemsize)]
    return found


found = {name: numbers(run()) for name, run in FOUND.items()}
