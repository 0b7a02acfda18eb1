"""`bcai`: one thin file per command."""
