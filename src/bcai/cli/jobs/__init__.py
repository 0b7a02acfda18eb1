"""`bcai jobs ...`: one file per command."""
