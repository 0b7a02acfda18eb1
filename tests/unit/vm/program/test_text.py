"""Assembly: exact round trips, and errors that point at the place."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.unit.vm.program.random_programs import programs, tiny

from bcai.base.errors import FormatError, InputError, VerifyError
from bcai.vm.isa.types import DType
from bcai.vm.program.builder import Builder
from bcai.vm.program.codec import encode_program
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.text import parse_program, print_program

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)
TINY = """\
bcai program 1
meta "a" = "1"
meta "b" = "2"
input %0 "x": float32[2,3]
parameter %1 "w": float32[3,2]
%2: float32[2,2] = MatMul %0 %1
%3: float32[2] = Sum %2 {axes=[0]}
output "y" = %2
output "total" = %3
"""


def test_the_text_of_a_program() -> None:
    assert print_program(tiny()) == TINY


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(programs())
def test_programs_round_trip(verified: VerifiedProgram) -> None:
    text = print_program(verified)
    again = parse_program(text)
    assert encode_program(again.program) == encode_program(verified.program)
    assert print_program(again) == text


def test_a_writer_may_leave_out_types_and_defaults_and_comment() -> None:
    loose = """
    # a comment
      bcai program 1
    meta "a"="1"   # another
    meta "b" = "2"

    input %0 "x": float32[2,3]
    \tparameter %1 "w": float32[3,2]
    %2 = MatMul %0 %1
    %3=Sum %2{axes=[0,],keepdims=false,}
    output "y" = %2
    output "total" = %3
    """
    assert print_program(parse_program(loose)) == TINY


@given(st.floats())
@example(float("nan"))
@example(-0.0)
@example(5e-324)
@example(1e22)
def test_floats_round_trip(value: float) -> None:
    builder = Builder()
    full = {"shape": (), "value": value, "dtype": DType.float64}
    verified = builder.finish(y=builder.emit("Full", (), full)[0])
    again = parse_program(print_program(verified))
    assert encode_program(again.program) == encode_program(verified.program)


@given(st.text(st.characters(codec="utf-8")))
@example('"\\\n\r\t\x00\u2028\U0001f600')
@example("\\u{41}")
@example("# no comment")
def test_texts_round_trip(text: str) -> None:
    builder = Builder()
    builder.metadata["key"] = text
    again = parse_program(print_program(builder.finish()))
    assert again.program.metadata == {"key": text}


HEAD = 'bcai program 1\ninput %0 "x": float32[2,3]\n'
WRONG = {
    "": (1, 1, "empty; a program starts with 'bcai program 1'"),
    "# only a comment": (1, 1, "empty"),
    "bcai": (1, 5, "expected 'program'"),
    "hello": (1, 1, "expected 'bcai'"),
    "bcai program x": (1, 14, "expected a version"),
    "bcai program 7": (1, 14, "version 7 is not known"),
    "bcai program 1 2": (1, 16, "expected the end of the line"),
    HEAD + "oops": (3, 1, "found 'oops', expected input, parameter, meta, output or %"),
    HEAD + "= 3": (3, 1, "expected input, parameter, meta, output or a result"),
    HEAD + 'input %2 "y": float32[2]': (3, 7, "found %2, the next value is %1"),
    HEAD + "input %1 y: float32[2]": (3, 10, "expected a name in quotation marks"),
    HEAD + 'input %1 "y" float32[2]': (3, 14, "expected ':'"),
    HEAD + 'input %1 "y": float31[2]': (3, 15, "not a tensor type: 'float31[2]'"),
    HEAD + 'input %1 "y": float32[02]': (3, 15, "write it as 'float32[2]'"),
    HEAD + 'input %1 "y": float32': (3, 15, "expected a type such as float32[2,3]"),
    HEAD + 'input %1 "y": float32[2] 3': (3, 26, "expected the end of the line"),
    HEAD + '%1 = Relu %0\ninput %2 "y": float32[2]': (4, 7, "an input after the first"),
    HEAD + 'parameter %1 "w": int8[]\ninput %2 "y": int8[]': (4, 7, "an input after a parameter"),
    HEAD + "%1 = Rellu %0": (3, 6, "no instruction 'Rellu'; did you mean 'Relu'?"),
    HEAD + "%1 = Zzzzqq %0": (3, 6, "no instruction 'Zzzzqq'"),
    HEAD + "%1 Relu %0": (3, 4, "expected '='"),
    HEAD + "%1 = Relu %1": (3, 11, "%1 is not defined yet; %0 to %0 are"),
    HEAD + "%5 = Relu %0": (3, 1, "found %5, the next value is %1"),
    HEAD + "%1 = Relu": (3, 10, "found 0 operands, expected 1"),
    HEAD + "%1 = Relu %0 %0": (3, 11, "found 2 operands, expected 1"),
    HEAD + "%1 = Relu %0,": (3, 13, "expected the end of the line"),
    HEAD + "%1 = MatMul %0 %0": (3, 13, "float32[2,3]"),
    HEAD + "%1: float32[3,2] = Relu %0": (3, 1, "Relu gives float32[2,3], the line says"),
    HEAD + "%1, %2 = Relu %0": (3, 1, "Relu has 1 results, found 2"),
    HEAD + "%1 = Sum %0 {axis=[0]}": (3, 14, "no attribute of Sum 'axis'; did you mean 'axes'?"),
    HEAD + "%1 = Sum %0 {axes=0}": (3, 19, "expected '['"),
    HEAD + "%1 = Sum %0 {axes=[0}": (3, 21, "expected ',' or ']'"),
    HEAD + "%1 = Sum %0 {axes=[0.5]}": (3, 20, "expected an integer"),
    HEAD + "%1 = Sum %0 {axes=[0], axes=[0]}": (3, 24, "attribute axes stands twice"),
    HEAD + "%1 = Sum %0 {axes=[0] keepdims=true}": (3, 23, "expected ',' or '}'"),
    HEAD + "%1 = Sum %0 {axes=[0], keepdims=yes}": (3, 33, "found 'yes', expected bool"),
    HEAD + "%1 = Sum %0 {axes=[0]": (3, 22, "expected ',' or '}'"),
    HEAD + "%1 = Sum %0 {axes=[9]}": (3, 10, "axis 9 is outside"),
    HEAD + "%1 = Sum %0": (3, 10, "Sum: attribute axes (ints) is missing"),
    HEAD + "%1 = Cast %0 {dtype=float31}": (3, 21, "found 'float31', expected dtype"),
    HEAD + '%1 = Gelu %0 {approximate="fast"}': (3, 27, "found 'fast', expected one of"),
    HEAD + "%1 = Full {shape=[], value=x, dtype=int8}": (3, 28, "expected a number"),
    HEAD + "%1 = Const {data=0x0, shape=[], dtype=int8}": (3, 20, "expected ',' or '}'"),
    HEAD + 'meta "a" = "\\u{110000}"': (3, 13, "no character"),
    HEAD + 'meta "a" = "\\u{d800}"': (3, 13, "no character"),
    HEAD + 'meta "a" = "open': (3, 12, "expected a value in quotation marks"),
    HEAD + 'meta "a" = "\\n"': (3, 13, "no escape \\n; write the character as"),
    HEAD + 'meta "a" = "\\u0041"': (3, 13, "no escape \\u"),
    HEAD + 'meta "a" = "1"\nmeta "a" = "2"': (4, 6, "metadata 'a' stands twice"),
    HEAD + 'input %1 "x": int8[]': (3, 10, "input or parameter 'x' is named twice"),
    HEAD + 'input %1 "": int8[]': (3, 10, "1 to 200 printable characters"),
    HEAD + 'input %1 "a\\u{0}": int8[]': (3, 10, "1 to 200 printable characters"),
    HEAD + f'input %1 "y": int8[{",".join("1" * 17)}]': (3, 10, "is too large: rank 16"),
    HEAD + '%1 = Relu %0\nparameter %2 "w": int8[]': (4, 11, "a parameter after the first"),
    HEAD + "%1 = Linear %0 %0 _": (3, 13, "an absent operand at the end is left out"),
    HEAD + 'output "" = %0': (3, 8, "1 to 200 printable characters"),
    "bcai program 1\n%0 = Relu %0": (2, 11, "%0 is not defined yet; nothing is"),
    HEAD + 'output "y" = %1': (3, 14, "%1 is not defined yet"),
    HEAD + 'output "y" = %0\noutput "y" = %0': (4, 8, "output 'y' is named twice"),
    HEAD + "%99999999999999999999 = Relu %0": (3, 2, "expected a number of at most 15 digits"),
}


@pytest.mark.parametrize("text", WRONG)
def test_an_error_points_at_its_place(text: str) -> None:
    line, column, message = WRONG[text]
    with pytest.raises((FormatError, VerifyError)) as caught:
        parse_program(text)
    first, *rest = str(caught.value).split("\n")
    assert first.startswith(f"line {line}")
    assert message in first
    if rest:
        shown, caret = rest
        assert first.startswith(f"line {line}, column {column}: ")
        assert shown == "    " + text.split("\n")[line - 1].replace("\t", " ")
        assert caret == " " * (3 + column) + "^" * caret.count("^")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_editors_count_them(end: str) -> None:
    text = HEAD + "# one\x0bline\u2028still\x85\n%1 = Rellu %0"
    with pytest.raises(FormatError, match="line 4, column 6: no instruction 'Rellu'"):
        parse_program(text.replace("\n", end))


def test_control_characters_of_the_text_are_not_shown() -> None:
    with pytest.raises(FormatError) as caught:
        parse_program("bcai program 1\n\x1b[31m")
    assert str(caught.value).split("\n")[1] == "     [31m"


def test_a_long_line_is_shown_around_the_place() -> None:
    line = "%1 = Concat" + " %0" * 500 + " %7 {axis=0}"
    with pytest.raises(VerifyError) as caught:
        parse_program(HEAD + line)
    _, shown, caret = str(caught.value).split("\n")
    assert len(shown) < 200
    assert shown[caret.index("^") :].startswith("%7")


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_changed_text_parses_or_is_refused(data: st.DataObject) -> None:
    text = list(TINY)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        kind = data.draw(st.sampled_from(("cut", "insert", "change")))
        new = data.draw(st.one_of(st.sampled_from('%"{}[]=:,._#\\ \n0129-eE'), st.characters()))
        text[at : at + (kind != "insert")] = [] if kind == "cut" else [new]
    try:
        verified = parse_program("".join(text))
    except InputError:
        return
    assert parse_program(print_program(verified)) == verified
