"""Scaled dot-product attention."""

from bcai.bridge.guest.export.site import Family, Site
from bcai.vm.isa.symbol import Symbol

rule = Family()


@rule("scaled_dot_product_attention")
def _(
    at: Site,
    q: Symbol,
    k: Symbol,
    v: Symbol,
    mask: Symbol | None = None,
    p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Symbol:
    del enable_gqa
    q, k, v = _one_batch(q, k, v)
    share = {"scale": 0.0 if scale is None else float(scale), "causal": is_causal}
    if p > 0.0:
        seed, step, stream = at.draws.next()
        return at.emit(
            "AttentionDropout", q, k, v, seed, step, mask, **share, p=float(p), stream=stream
        )
    return at.emit("Attention", q, k, v, mask, **share)


def _one_batch(q: Symbol, k: Symbol, v: Symbol) -> tuple[Symbol, Symbol, Symbol]:
    """Broadcast batches, but not heads: those may be shared."""
    rank = max(len(each.shape) for each in (q, k, v))
    wide = [each.reshape(*(1,) * (rank - len(each.shape)), *each.shape) for each in (q, k, v)]
    batch = [max(sizes) for sizes in zip(*(each.shape[:-3] for each in wide), strict=True)]
    q, k, v = (each.expand(*batch, *each.shape[len(batch) :]) for each in wide)
    if rank > 2 and k.shape[-3] != v.shape[-3]:
        heads = max(k.shape[-3], v.shape[-3])
        k, v = (each.expand(*batch, heads, *each.shape[-2:]) for each in (k, v))
    if rank > 2 and q.shape[-3] < k.shape[-3]:
        q = q.expand(*batch, k.shape[-3], *q.shape[-2:])
    return q, k, v
