"""The receipt of a captured script as one page: what ran, how often, and what that proves."""

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from bcai.base.units import format_count
from bcai.cli.receipt_page import Rows, row_of, wrapped_page

if TYPE_CHECKING:
    from bcai.proof.capture_receipt import CaptureReceipt
    from bcai.proof.check import Report

_PROGRAMS_MAX = 50


def capture_page(receipt: "CaptureReceipt", report: "Report", rows: Rows) -> str:
    """One HTML page, with its style inside and no script."""
    outputs = "".join(
        row_of(each.name, f"{each.type} {each.hash.hex()}") for each in receipt.commitment.outputs
    )
    sections = _proven(receipt) + _own_operations(receipt) + _parts(receipt)
    return wrapped_page(escape(receipt.commitment.job_id), report, rows, outputs, sections)


def _proven(receipt: "CaptureReceipt") -> str:
    """What it proves; what it does not stands below, as for every receipt."""
    said = [
        "The node stands for every part below: for its program, for where each of its operands "
        "comes from, and for what came out.",
        "With the values that the script gave, <code>bcai replay</code> executes the parts again, "
        "on any machine, and names the first one that comes out otherwise.",
    ]
    if receipt.commitment.evidence.value == "attested":
        said.append(
            "It is <strong>attested</strong>: the script's own torch executed the operations that "
            "are listed next. What came of them stands in the trace as the script gave it, and is "
            "one node's word; all else is the same bits on every machine."
        )
    else:
        said.append(f"It is <strong>{escape(receipt.commitment.evidence.value)}</strong>: every "
                    "operation of the trace is an instruction.")  # fmt: skip
    said.append("It does not prove that these are the operations of your script, on your data: "
                "running the script again does, since it gives the same trace.")  # fmt: skip
    return f"<h2>What it proves</h2><ul>{''.join(f'<li>{each}</li>' for each in said)}</ul>"


def _own_operations(receipt: "CaptureReceipt") -> str:
    from bcai.proof.capture import GivenLeaf
    from bcai.proof.capture_receipt import OPERATION

    listed = [text for text in receipt.commitment.unmapped if text.startswith(OPERATION)]
    came = Counter(
        each.origin for each in receipt.leaves if isinstance(each, GivenLeaf) and each.origin
    )
    if not listed and not came:
        return ""
    rows = [text.removeprefix(OPERATION).partition(": ") for text in listed]
    body = "".join(row_of(name, where) for name, _, where in rows)
    body += "".join(
        row_of(origin, f"{format_count(count, 'value')} of the trace came of it")
        for origin, count in came.items()
    )
    return f"<h2>Executed by the script's own torch</h2><table>{body}</table>"


def _parts(receipt: "CaptureReceipt") -> str:
    from bcai.proof.capture import PartLeaf

    runs = Counter(each.program for each in receipt.leaves if isinstance(each, PartLeaf))
    body = ""
    for root, count in runs.most_common(_PROGRAMS_MAX):
        program = receipt.by_root.get(root)
        size = "not enclosed"
        if program is not None:
            size = format_count(len(program.instructions), "instruction")
        body += row_of(format_count(count, "time"), f"{size}, program {root.hex()}")
    if len(runs) > _PROGRAMS_MAX:
        body += row_of("", f"and {format_count(len(runs) - _PROGRAMS_MAX, 'program')} more")
    return f"<h2>Parts</h2><table>{body}</table>"
