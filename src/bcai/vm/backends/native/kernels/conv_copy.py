"""What a convolution copies: padded images into scratch, and blocks turned on their side."""

from collections.abc import Callable

from bcai.vm.backends.native.kernels.conv_geometry import Grid
from bcai.vm.backends.native.llvm import I64, POINTER, Function, Module, Number, Value
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType


def write_pad(module: Module, target: Target, dtype: DType, grid: Grid, name: str) -> Value:
    """Function that copies rows of the padded image: source, first row, rows, result, plane, count.

    Source is an image `[channels][*source]`; the result `[channels][rows][middle][inner]`, of which
    channels lie `plane` elements apart; `count` is how many channels there are to copy.
    """
    if module.has(name):
        return module.handle(name)
    f = module.function(name, (POINTER, I64, I64, POINTER, I64, I64), internal=True, inline=False)
    source, first, count, result, plane, channels = f.arguments
    element = Registers(f, dtype, 1, fused=target.fused).type
    _, middles, inners = grid.padded
    image = grid.source[0] * grid.source[1] * grid.source[2]
    with f.loop(0, channels) as c:
        channel = f.offset(source, f.mul(c.index, image), element)
        target_channel = f.offset(result, f.mul(c.index, plane), element)
        with f.loop(0, count) as r:
            outer, has_outer = _source_place(f, grid, 0, f.add(r.index, first))
            with f.loop(0, middles) as m:
                middle, has_middle = _source_place(f, grid, 1, m.index)
                place = f.add(f.mul(r.index, middles), m.index)
                into = f.offset(target_channel, f.mul(place, inners), element)
                row = f.add(f.mul(outer, grid.source[1]), middle)
                start = f.offset(channel, f.mul(row, grid.source[2]), element)
                with f.either(f.b.and_(has_outer, has_middle)) as (yes, no):
                    with yes:
                        _pad_row(f, target, dtype, grid, start, into)
                    with no:
                        fill(f, target, dtype, into, inners)
    f.give()
    return f.handle


def _source_place(f: Function, grid: Grid, axis: int, place: Value) -> tuple[Value, Value]:
    """The element of the image at a padded place (0 if there is none), and whether there is one."""
    spread = grid.spread[axis]
    at = f.sub(place, grid.before[axis])
    quotient = at if spread == 1 else f.div(at, spread)
    there = f.b.and_(f.b.not_(f.less(at, 0)), f.less(quotient, grid.source[axis]))
    if spread != 1:
        there = f.b.and_(there, f.equal(f.mul(quotient, spread), at))
    return f.b.select(there, quotient, f.number(0)), there


def _pad_row(
    f: Function, target: Target, dtype: DType, grid: Grid, source: Value, result: Value
) -> None:
    before, spread, size, width = (
        grid.before[2],
        grid.spread[2],
        grid.source[2],
        grid.padded[2],
    )
    skipped = -(before // spread) if before < 0 else 0
    start = before + skipped * spread
    count = min(size - skipped, -(-(width - start) // spread))
    element = Registers(f, dtype, 1, fused=target.fused).type
    source = f.offset(source, skipped, element)
    if count <= 0:
        fill(f, target, dtype, result, width)
        return
    if spread == 1:
        fill(f, target, dtype, result, start)
        copy(f, target, dtype, source, f.offset(result, start, element), count)
        rest = start + count
        fill(f, target, dtype, f.offset(result, rest, element), width - rest)
        return
    fill(f, target, dtype, result, width)
    with f.loop(0, count) as loop:
        value = f.load(f.offset(source, loop.index, element), element)
        at = f.add(f.mul(loop.index, spread), start)
        f.store(value, f.offset(result, at, element))


def copy(
    f: Function, target: Target, dtype: DType, source: Value, result: Value, count: int
) -> None:
    """Copy `count` elements that lie one after the other."""

    def move(at: Number, lanes: int) -> None:
        registers = Registers(f, dtype, lanes, fused=target.fused)
        element = Registers(f, dtype, 1, fused=target.fused).type
        value = f.load(f.offset(source, at, element), registers.type)
        f.store(value, f.offset(result, at, element))

    _run(f, target.lanes(dtype), count, move)


def fill(f: Function, target: Target, dtype: DType, result: Value, count: int) -> None:
    """Store `count` zeros one after the other."""

    def move(at: Number, lanes: int) -> None:
        registers = Registers(f, dtype, lanes, fused=target.fused)
        element = Registers(f, dtype, 1, fused=target.fused).type
        f.store(registers.constant(0.0), f.offset(result, at, element))

    _run(f, target.lanes(dtype), count, move)


def _run(f: Function, lanes: int, count: int, move: Callable[[Number, int], None]) -> None:
    """Cover `count` elements with vectors; the last one overlaps, or smaller ones do the rest."""
    whole = count // lanes
    if whole > 8:
        with f.loop(0, whole * lanes, lanes) as loop:
            move(loop.index, lanes)
    else:
        for at in range(whole):
            move(at * lanes, lanes)
    at, rest = whole * lanes, count - whole * lanes
    if rest and whole:
        move(count - lanes, lanes)
        return
    while rest:
        while lanes > rest:
            lanes //= 2
        move(at, lanes)
        at, rest = at + lanes, rest - lanes


def write_turn(
    module: Module,
    target: Target,
    dtype: DType,
    rows: int,
    columns: int,
    *,
    whole: bool = False,
    bias: bool = False,
    counted: bool = False,
) -> Value:
    """Function that turns a block: source, bytes between its rows; result, bytes between its rows.

    Of a square block of as many rows as a vector has lanes, `rows` rows and `columns` columns are
    read, and `columns` rows of `rows` elements written; with `whole` full vectors, which end in
    zeros. With `bias` a last parameter is the address of one number for every column, which is
    added. With `counted` the last parameter is how many columns are read; others are zeros.
    """
    name = f"conv.turn.{dtype.name}.{rows}.{columns}.{int(whole)}{int(bias)}{int(counted)}"
    if module.has(name):
        return module.handle(name)
    extra = (POINTER,) if bias else (I64,) if counted else ()
    parameters = (POINTER, I64, POINTER, I64, *extra)
    f = module.function(name, parameters, internal=True, inline=False)
    source, source_pitch, result, result_pitch = f.arguments[:4]
    lanes = target.lanes(dtype)
    registers = Registers(f, dtype, lanes, fused=target.fused)
    element = Registers(f, dtype, 1, fused=target.fused).type
    zero = registers.constant(0.0)
    block = [zero] * lanes
    for row in range(rows):
        at = f.offset(source, f.mul(source_pitch, row))
        if counted:
            block[row] = f.load_first(at, registers.type, f.arguments[4], zero)
        elif columns == lanes:
            block[row] = f.load(at, registers.type)
        else:
            block[row] = f.load_first(at, registers.type, columns, zero)
    block = turned(f, block)
    for column in range(columns):
        at = f.offset(result, f.mul(result_pitch, column))
        value = block[column]
        if bias:
            number = f.load(f.offset(f.arguments[4], column, element), element)
            value = registers.add(value, f.splat(number, lanes))
        if whole or rows == lanes:
            f.store(value, at)
        else:
            f.store_first(value, at, rows)
    f.give()
    return f.handle


def turned(f: Function, rows: list[Value]) -> list[Value]:
    """A square of vectors, turned: lane j of vector i becomes lane i of vector j."""
    lanes = len(rows)
    step = lanes // 2
    while step:
        following = list(rows)
        for at in range(lanes):
            if at & step:
                continue
            first, second = rows[at], rows[at + step]
            low = [x if not x & step else lanes + x - step for x in range(lanes)]
            high = [x + step if not x & step else lanes + x for x in range(lanes)]
            following[at] = f.shuffle(first, second, low)
            following[at + step] = f.shuffle(first, second, high)
        rows = following
        step //= 2
    return rows


def turn_rows(
    f: Function,
    target: Target,
    dtype: DType,
    source: Value,
    source_pitch: int,
    result: Value,
    result_pitch: int,
    rows: int,
    columns: int,
    *,
    whole: bool = False,
    bias: Value | None = None,
) -> None:
    """Turn a matrix: `result[column][row] = source[row][column]`; pitches are in elements.

    With `whole` the result's rows are filled up with zeros to full vectors. With `bias` its row c
    has element c of it added.
    """
    lanes = target.lanes(dtype)
    size = dtype.itemsize
    element = Registers(f, dtype, 1, fused=target.fused).type

    def one(row: Number, count: int) -> None:
        for start, wide in _starts(columns, lanes) if columns < 8 * lanes else ():
            block(row, count, start, wide)
        if columns >= 8 * lanes:
            with f.loop(0, columns - lanes + 1, lanes) as loop:
                block(row, count, loop.index, lanes)
            if columns % lanes:
                block(row, count, columns - lanes, lanes)

    def block(row: Number, count: int, column: Number, wide: int) -> None:
        turn = write_turn(f.module, target, dtype, count, wide, whole=whole, bias=bias is not None)
        at = f.offset(f.offset(source, f.mul(row, source_pitch), element), column, element)
        into = f.offset(f.offset(result, f.mul(column, result_pitch), element), row, element)
        extra = [] if bias is None else [f.offset(bias, column, element)]
        f.call(turn, [at, source_pitch * size, into, result_pitch * size, *extra])

    if rows >= 8 * lanes:
        with f.loop(0, rows - lanes + 1, lanes) as loop:
            one(loop.index, lanes)
        if rows % lanes:
            one(rows - lanes, lanes)
        return
    for start, count in _starts(rows, lanes):
        one(start, count)


def _starts(count: int, lanes: int) -> list[tuple[int, int]]:
    """Where pieces of `lanes` start that cover `count`; the last overlaps, or is all there is."""
    if count < lanes:
        return [(0, count)]
    found = [(at, lanes) for at in range(0, count - lanes + 1, lanes)]
    return [*found, (count - lanes, lanes)] if count % lanes else found
