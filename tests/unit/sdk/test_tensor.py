"""`Tensor`: NumPy's answers where NumPy is exact, laziness that nobody notices, exchange."""

import copy
import gc
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bcai.sdk.lazy as lazy
from bcai import Tensor
from bcai.base.errors import InputError
from bcai.vm.isa.types import Array

X = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]], np.float32)


def test_the_guides_example() -> None:
    tensor = Tensor.create([64, 64], dtype="float32", seed=1)
    other_tensor = Tensor.create([64, 64], dtype="float32", data=np.eye(64))
    result = tensor.matmul(other_tensor)
    data = result.to_numpy()
    assert data.dtype == np.float32
    np.testing.assert_array_equal(data, tensor.to_numpy())


def test_nothing_is_no_operand() -> None:
    tensor = Tensor(X)
    assert (tensor == None) is False  # noqa: E711 - what a careless test of a value does
    assert (tensor != None) is True  # noqa: E711
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = tensor + None


def test_create_makes_zeros_data_or_seeded_numbers() -> None:
    zeros = Tensor.create([2, 3], dtype="int8")
    assert (zeros.shape, zeros.dtype, zeros.ndim, zeros.size) == ((2, 3), "int8", 2, 6)
    assert zeros.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert Tensor.create([2], data=[1, 2]).dtype == "float32"
    first, again, other = (Tensor.create([50], seed=seed).to_numpy() for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()
    for wrong in (
        lambda: Tensor.create([2], data=[1.0, 2.0, 3.0]),
        lambda: Tensor.create([2], data=[1.0, 2.0], seed=1),
        lambda: Tensor.create([-2]),
        lambda: Tensor.create([2], dtype="float31"),
        lambda: Tensor(np.array(["a"])),
        lambda: Tensor(["a"], dtype="float32"),
        lambda: Tensor.create([1], data=["a"]),
        lambda: Tensor([[1], [2, 3]]),
        lambda: Tensor.create([2], dtype=None),
        lambda: Tensor.create([1.5]),  # pyright: ignore[reportArgumentType]
        lambda: Tensor.create(3),  # pyright: ignore[reportArgumentType]
        lambda: Tensor.create("x"),  # pyright: ignore[reportArgumentType]
        lambda: Tensor.create([2], seed=1.5),  # pyright: ignore[reportArgumentType]
        lambda: Tensor.from_dlpack(5),
    ):
        with pytest.raises(InputError):
            wrong()


OPERATORS: dict[str, Callable[[Array], object]] = {
    "add": lambda x: x + 1,
    "radd": lambda x: 1 + x,
    "sub": lambda x: x - 2.5,
    "rsub": lambda x: 2.5 - x,
    "mul": lambda x: x * x,
    "div": lambda x: x / 4,
    "rdiv": lambda x: 6 / x,
    "pow": lambda x: x**2,
    "neg": lambda x: -x,
    "abs": abs,
    "less": lambda x: x < 1,
    "less_equal": lambda x: x <= 1,
    "greater": lambda x: x > 1,
    "greater_equal": lambda x: x >= 1,
    "equal": lambda x: x == 1,
    "not_equal": lambda x: x != 1,
    "and": lambda x: (x > 1) & (x < 5),
    "or": lambda x: (x > 4) | (x < 0),
    "xor": lambda x: (x > 1) ^ (x < 5),
    "not": lambda x: ~(x > 1),
    "array on the left": lambda x: np.ones((2, 3), np.float32) - x,
    "array on the right": lambda x: x - np.ones(3, np.float32),
    "index": lambda x: x[1],
    "slices": lambda x: x[:, 1:],
    "index and step": lambda x: x[-1, ::2],
    "transposed": lambda x: x.T,
    "maximum": lambda x: x.max(),
    "minimum of an axis": lambda x: x.min(0),
    "argmax": lambda x: x.argmax(-1),
    "reshape": lambda x: x.reshape(3, -1),
    "astype": lambda x: x.astype("int32"),
    "matmul": lambda x: x @ x.T,
    "sum": lambda x: x.sum(),
    "sum of an axis": lambda x: x.sum(1),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_give_what_numpy_gives(name: str) -> None:
    operator = OPERATORS[name]
    found = operator(Tensor(X))  # pyright: ignore[reportArgumentType] - the same operators
    assert isinstance(found, Tensor)
    expected = np.asarray(operator(X))
    assert found.dtype == expected.dtype.name
    np.testing.assert_array_equal(found.to_numpy(), expected)


def test_functions_are_close_to_numpys() -> None:
    x = Tensor(np.abs(X))
    for found, expected in (
        (x.exp(), np.exp(np.abs(X))),
        (x.log(), np.log(np.abs(X))),
        (x.sqrt(), np.sqrt(np.abs(X))),
        (x.tanh(), np.tanh(np.abs(X))),
        (x.sigmoid(), 1 / (1 + np.exp(-np.abs(X)))),
        (Tensor(X).relu(), np.maximum(X, 0)),
        (x.mean(0), np.abs(X).mean(0)),
        (x.softmax().sum(1), np.ones(2)),
        (Tensor.apply("Gelu", Tensor(X), approximate="tanh") - Tensor(X).gelu(), np.zeros((2, 3))),
    ):
        np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-5, atol=1e-3)
    values, places = Tensor.apply_all("TopK", Tensor(X), k=1, axis=1, largest=True)
    assert values.tolist() == [[3], [5]]
    assert places.tolist() == [[2], [1]]


def test_mistakes_are_refused_where_they_are_made() -> None:
    x = Tensor(X)
    with pytest.raises(InputError, match=r"Add: float32\[2,3\] and float32\[2\] do not broadcast"):
        _ = x + Tensor([1.0, 2.0])
    with pytest.raises(InputError, match=r"number 1\.5 beside int64"):
        _ = Tensor([1, 2]) + 1.5
    with pytest.raises(InputError, match="element types differ"):
        _ = x + Tensor([1, 2, 3])
    with pytest.raises(InputError, match="has no 'Rellu'"):
        Tensor.apply("Rellu", x)
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = x + "a"
    for key in (7, "x", True, 0.5, None):
        with pytest.raises(IndexError, match="index"):
            _ = x[key]  # pyright: ignore[reportArgumentType]
    with pytest.raises(IndexError, match=r"axis 4 is outside float32\[2,3\]"):
        x.transpose(4, 5)


def test_python_asks_for_numbers() -> None:
    scalar = Tensor(2.5)
    assert scalar.item() == 2.5
    assert float(scalar) == 2.5
    assert int(scalar) == 2
    assert bool(scalar > 1)
    assert len(Tensor(X)) == 2
    with pytest.raises(TypeError, match="no length"):
        len(scalar)
    assert repr(Tensor([1, 2])) == "Tensor([1, 2], int64[2])"


def test_what_came_in_and_what_goes_out_is_a_copy() -> None:
    mine = X.copy()
    tensor = Tensor(mine)
    mine[0, 0] = 99
    out = tensor.to_numpy()
    out[0, 0] = 77
    assert tensor.to_numpy()[0, 0] == 1


def test_arrays_are_exchanged_with_numpy_and_torch() -> None:
    torch = pytest.importorskip("torch", reason="the exchange with torch needs torch")
    tensor = Tensor(X)
    assert np.asarray(tensor).dtype == np.float32
    assert np.asarray(tensor, dtype=np.float64).dtype == np.float64
    assert np.from_dlpack(tensor).tolist() == X.tolist()
    assert torch.from_dlpack(tensor).tolist() == X.tolist()
    assert Tensor.from_dlpack(torch.arange(3)).dtype == "int64"
    assert tensor.__dlpack_device__() == (1, 0)
    with pytest.raises(InputError, match=r"from_dlpack: Tensor: .*DLTensor"):
        Tensor.from_dlpack(torch.ones(2, dtype=torch.bfloat16))
    with pytest.raises(BufferError, match="float32"):
        Tensor([1.0], dtype="bfloat16").__dlpack__()
    with pytest.raises(ValueError, match="immutable"):
        tensor.__array__(copy=False)


def test_the_program_behind_a_tensor() -> None:
    tensor = (Tensor(X) @ Tensor(X).T).relu()
    program, inputs = tensor.to_program()
    assert [each.op.name for each in program.program.instructions] == ["Permute", "MatMul", "Relu"]
    assert {name: each.shape for name, each in inputs.items()} == {"x0": (2, 3), "x1": (2, 3)}
    assert list(program.output_types) == ["y"]


def test_nothing_is_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    machine = lazy.EnhancedVM()

    class Counting:
        def run(self, program: object, inputs: object) -> object:
            result = machine.run(program, inputs)  # pyright: ignore[reportArgumentType]
            ran.append(result.instruction_count)
            return result

    monkeypatch.setattr(lazy, "_machine", Counting)
    x = Tensor(X)
    hidden = x.exp() + 1
    first, second = hidden * 2, hidden * 3
    first.to_numpy()
    first.to_numpy()
    second.to_numpy()
    assert len(ran) == 2
    assert ran[1] <= 2  # the product and its number; not the exponential again
    del hidden
    gc.collect()
    state = x
    for _ in range(20):
        state = state * 0.5
        state.to_numpy()
    assert max(ran[2:]) <= 2


def test_a_long_chain_is_no_recursion() -> None:
    state = Tensor([0.0])
    for _ in range(3000):
        state = state + 1
    assert state.item() == 3000


@given(st.lists(st.integers(-100, 100), min_size=1, max_size=8))
def test_whole_numbers_add_up(numbers: list[int]) -> None:
    tensor = Tensor(np.array(numbers))
    assert tensor.sum().item() == sum(numbers)
    assert (tensor * 2 - tensor).tolist() == numbers


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool"])
def test_a_copied_or_pickled_tensor_has_the_same_elements(dtype: str) -> None:
    tensor = Tensor.create([2, 2], dtype=dtype, data=[[1, 0], [0, 1]])
    for found in (copy.copy(tensor), copy.deepcopy(tensor), pickle.loads(pickle.dumps(tensor))):
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        assert found.tolist() == tensor.tolist()
