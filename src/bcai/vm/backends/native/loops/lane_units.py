"""How large folds of columns are cut into units by lanes.

Note [Lanes as units]
    Row k of a fold belongs to lane k mod 32 alone. So a unit can take a few lanes of a chunk of
    4096 rows: it reads whole rows, which is how memory likes to be read, adds them to a few lanes
    that stay in the first cache, and shares nothing with others. A second launch folds the lanes.
"""

import math

from bcai.vm.backends.native.loops.form import Form
from bcai.vm.compiler.plan import Fold
from bcai.vm.isa.order import CHUNK, LANES
from bcai.vm.isa.types import DType

LANES_OF_UNIT = 4
COLUMNS_OF_UNIT = 512
"""Columns of a unit: four lanes of so many fit in the caches."""
ELEMENTS_MIN = 1 << 18
"""Of a fold that is worth two launches."""
ROWS_MIN = 256
"""Rows, so that the lanes are few beside them."""


def takes_lanes(form: Form, count: int) -> bool:
    """Whether columns are folded by lanes: large sums over one axis, in whole vectors."""
    if not form.columns or len(form.row) != 1 or form.row[0] < ROWS_MIN:
        return False
    first = [each for each in form.nodes if isinstance(each, Fold)]
    return (
        all(each.op.name in ("Sum", "Prod") and each.dtype is not DType.bool for each in first)
        and math.prod(form.outer) * form.row[0] >= ELEMENTS_MIN
        and form.outer[-1] % count == 0
        and form.outer[-1] >= 2 * count
    )


def column_blocks(form: Form) -> int:
    """Blocks of columns."""
    return max(1, form.outer[-1] // COLUMNS_OF_UNIT)


def lane_units(form: Form) -> int:
    """Units of one index of the other outer axes."""
    return -(-form.row[0] // CHUNK) * (LANES // LANES_OF_UNIT) * column_blocks(form)
