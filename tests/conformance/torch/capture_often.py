"""What common scripts do, run by torch alone and captured: all of it is instructions.

The file is a script: what it finds is in `found`, one list of numbers for each function below.
"""

import copy
from collections.abc import Callable
from typing import Any, cast

import torch as installed
from tests.conformance.torch.deterministic import data, filled, numbers, small, trained
from torch import nn

torch: Any = installed
functional: Any = nn.functional
FOUND: dict[str, Callable[[], list[Any]]] = {}


def script(run: Callable[[], list[Any]]) -> Callable[[], list[Any]]:
    FOUND[run.__name__] = run
    return run


@script
def results_with_a_place() -> list[Any]:
    x, y = data(5, 4), data(5, 4, pitch=0.7)
    places = torch.zeros(5, dtype=torch.int64), torch.zeros(5, 4, dtype=torch.int64)
    found = [torch.zeros(5, 4) for _ in range(4)]
    torch.add(x, y, alpha=2, out=found[0])
    torch.mul(x, y, out=found[1])
    torch.div(x, 2.0, out=found[2])
    torch.sub(x, y, out=x)
    largest, top = torch.zeros(5), torch.zeros(5, 2)
    torch.max(x, 1, out=(largest, places[0]))
    torch.sort(y, 0, out=(found[3], places[1]))
    torch.topk(x, 2, out=(top, torch.zeros(5, 2, dtype=torch.int64)))
    rows = [torch.zeros(4), torch.zeros(4), torch.arange(0, 3, out=torch.zeros(3))]
    torch.sum(x, 0, out=rows[0])
    torch.mean(x, 0, out=rows[1])
    grown = torch.exp(y, out=torch.empty(0))
    torch.add(x[1:], 1, out=found[0][:4])
    return [x, *found, *places, largest, top, *rows, grown, grown.stride()]


@script
def spectral_norm() -> list[Any]:
    made: Any = nn.utils.parametrizations.spectral_norm
    layer = made(nn.Linear(4, 3), n_power_iterations=2)
    with torch.no_grad():
        layer.parametrizations["weight"].original.copy_(data(3, 4))
        layer.bias.zero_()
        for each, size in zip(layer.parametrizations["weight"][0].buffers(), (3, 4), strict=True):
            each.copy_(functional.normalize(data(size), dim=0))
    return trained(layer, lambda: (layer(data(5, 4)) ** 2).mean())


@script
def generator_and_critic() -> list[Any]:
    first = nn.ConvTranspose2d(4, 6, 4, 1, 0, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True)
    make = filled(nn.Sequential(*first, nn.ConvTranspose2d(6, 1, 4, 2, 1), nn.Tanh()))
    judge = filled(nn.Sequential(nn.Conv2d(1, 4, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 4)))
    loss = nn.BCEWithLogitsLoss()
    steps = [
        torch.optim.Adam(each.parameters(), 1e-2, betas=(0.5, 0.999)) for each in (make, judge)
    ]
    label, losses = torch.ones(3, 1, 1, 1), cast("list[Any]", [])
    for _ in range(2):
        judge.zero_grad()
        made = make(data(3, 4, 1, 1))
        real = loss(judge(data(3, 1, 8, 8)), label.fill_(1.0))
        real.backward()
        false = loss(judge(made.detach()), label.fill_(0.0))
        false.backward()
        steps[1].step()
        make.zero_grad()
        fooled = loss(judge(made), label.fill_(1.0))
        fooled.backward()
        steps[0].step()
        losses += [real, false, fooled]
    return [*losses, *make.parameters(), *judge.parameters()]


@script
def resampled() -> list[Any]:
    found: list[Any] = []
    for mode in ("nearest", "nearest-exact", "bilinear"):
        for given in ({"scale_factor": 2.0}, {"size": (5, 7)}):
            x = data(2, 3, 4, 4).requires_grad_()
            y = functional.interpolate(x, mode=mode, **given)
            (y * data(*y.shape, pitch=0.9)).sum().backward()
            found += [y, x.grad]
    x = data(2, 3, 4).requires_grad_()
    y = functional.interpolate(x, scale_factor=3, mode="linear", align_corners=True)
    (y**2).sum().backward()
    return [*found, x.grad]


@script
def padded_and_pooled() -> list[Any]:
    found: list[Any] = []
    x = data(2, 3, 6, 6).requires_grad_()
    for call in (
        nn.ReplicationPad2d((1, 2, 0, 3)),
        nn.AdaptiveMaxPool2d(3),
        nn.Hardshrink(0.2),
        nn.Softshrink(0.2),
    ):
        y = call(x)
        (y * data(*y.shape, pitch=0.9)).sum().backward()
        found += [y, x.grad.clone()]
    return found


@script
def weight_norm() -> list[Any]:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    filled(layer)
    return trained(layer, lambda: (layer(data(5, 4)) ** 2).mean())


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "Adam": {"amsgrad": True, "maximize": True, "foreach": True, "weight_decay": 0.1},
    "AdamW": {"amsgrad": True, "maximize": True, "fused": True},
    "SGD": {"momentum": 0.9, "nesterov": True, "maximize": True, "fused": True},
    "Adagrad": {"fused": True, "lr_decay": 0.1},
    "Adamax": {"foreach": True},
    "NAdam": {"foreach": True},
    "RAdam": {"foreach": True},
    "Rprop": {"foreach": True},
    "RMSprop": {"foreach": True, "centered": True, "momentum": 0.9},
    "Adadelta": {"foreach": True},
    "ASGD": {"foreach": True},
    "Adafactor": {},
}


@script
def optimizers() -> list[Any]:
    found: list[Any] = []
    for name, settings in OPTIMIZERS.items():
        model = small()
        make = getattr(torch.optim, name)
        chosen = make(model.parameters(), lr=0.02, **settings)
        found += trained(model, lambda model=model: (model(data(5, 4)) ** 2).mean(), chosen)
    return found


@script
def scaled_gradients() -> list[Any]:
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
    model: Any = filled(nn.Sequential(*layers))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2)
    found: list[Any] = []
    for step in range(5):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = model(data(6, 1, 6, 6))
        loss = functional.cross_entropy(scores.float(), torch.arange(6) % 2)
        loss = loss * (float("inf") if step == 2 else 1.0)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        found.append(scaler.get_scale())
    return found


@script
def batch_norm_of_two_types() -> list[Any]:
    norm, x = nn.BatchNorm1d(4), data(6, 4).bfloat16().requires_grad_()
    y = norm(x)
    (y.float() * data(6, 4, pitch=0.9)).sum().backward()
    return [(y.float() * 8).round() / 8, norm.running_mean, norm.running_var, norm.bias.grad]


@script
def distributions() -> list[Any]:
    given = torch.distributions
    mean = data(4).requires_grad_()
    normal = given.Normal(mean, data(4).exp())
    chosen = given.Categorical(logits=data(4, 3))
    loss = given.kl_divergence(normal, given.Normal(torch.zeros(4), torch.ones(4))).sum()
    (loss - normal.log_prob(data(4)).sum()).backward()
    taken = chosen.log_prob(torch.tensor([0, 1, 2, 0]))
    return [loss, mean.grad, taken, chosen.entropy(), given.Bernoulli(logits=data(3)).entropy()]


@script
def looks() -> list[Any]:
    x = data(3, 4)
    assert torch.allclose(x, x + 1e-9)
    assert not torch.allclose(x, x + 1)
    assert torch.equal(x, x.clone())
    with torch.autograd.set_detect_anomaly(mode=True):
        w = x.clone().requires_grad_()
        (w**2).sum().backward()
    return [w.grad]


@script
def averages() -> list[Any]:
    model = small()
    kept = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    other = copy.deepcopy(model)
    for _ in range(3):
        trained(model, lambda: (model(data(5, 4)) ** 2).mean())
        kept.update_parameters(model)
        with torch.no_grad():
            for mine, new in zip(other.parameters(), model.parameters(), strict=True):
                mine.mul_(0.9).add_(new, alpha=0.1)
    return [*kept.module.parameters(), *other.parameters()]


@script
def bags_of_words() -> list[Any]:
    found: list[Any] = []
    ids, starts = torch.tensor([1, 2, 4, 5, 4, 3, 9]), torch.tensor([0, 3, 3, 4])
    for mode in ("sum", "mean"):
        words = filled(nn.EmbeddingBag(10, 4, mode=mode))
        found += trained(words, lambda words=words: (words(ids, starts) ** 2).sum())
    shares, table = data(7), data(10, 4)
    found.append(
        functional.embedding_bag(ids, table, starts, mode="sum", per_sample_weights=shares)
    )
    return found


@script
def series_of_different_lengths() -> list[Any]:
    cells: Any = filled(nn.GRU(3, 4, batch_first=True))
    x, lengths = data(3, 5, 3).requires_grad_(), torch.tensor([2, 5, 3])
    rnn: Any = nn.utils.rnn
    pack, unpack = rnn.pack_padded_sequence, rnn.pad_packed_sequence
    packed = pack(x, lengths, batch_first=True, enforce_sorted=False)
    y, sizes = unpack(cells(packed)[0], batch_first=True)
    (y**2).sum().backward()
    return [y, sizes, x.grad]


found = {name: numbers(run()) for name, run in FOUND.items()}
