"""Hands a script's tensor operations over to the node, which executes and records them."""
