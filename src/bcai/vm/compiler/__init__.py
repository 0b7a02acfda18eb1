"""Passes from Program to Plan, one file each: expand, differentiate, simplify."""
