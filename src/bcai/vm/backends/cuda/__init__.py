"""Programs on NVIDIA's processors, through PTX: the same bits as everywhere.

What has been shown and what has not: the PTX is compiled and checked operation by operation, and
NVIDIA's assembler takes it; the same kernels, compiled for the host with a grid of emulated
threads, give the bits of the definition. On a GPU this backend has not run yet.
"""
