"""How a dispute ended, as JSON."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bcai.proof.settle import Settled


def settled_document(settled: "Settled") -> dict[str, Any]:
    """Who lied about what, and what it took."""
    verdict = settled.verdict
    return {
        "step": verdict.where.step,
        "leaf": verdict.where.leaf,
        "place": verdict.place,
        "lies": {
            side.value: {"code": lie.code, "message": str(lie)}
            for side, lie in verdict.lies.items()
        },
        "messages": settled.messages,
        "bytes": settled.nbytes,
        "seconds": settled.seconds,
    }
