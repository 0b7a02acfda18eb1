"""Limits that both sides of the jail know, with their reasons."""

MESSAGE_BYTES_MAX = 60_000  # one datagram; well below what a socket takes at once
VALUE_BYTES_MAX = 1 << 20  # a plain value is for people to read; more is an array or a file
ALL_VALUES_BYTES_MAX = 8 << 20  # of all plain values: they travel in one message
TENSORS_MAX = 100_000  # in one state_dict
HEADER_BYTES_MAX = 32 << 20  # of one safetensors file
DIMENSIONS_MAX = 64  # of one array, as in torch
