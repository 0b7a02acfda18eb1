"""What a captured script leaves besides its own outputs."""

GIVEN = "captured_inputs"
"""Output: the values that the script gave, if any, by the number of their leaf: a state_dict."""
