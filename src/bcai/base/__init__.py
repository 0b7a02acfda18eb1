"""Values every room shares: errors, digests, canonical bytes, ids, units, clock, limits."""
