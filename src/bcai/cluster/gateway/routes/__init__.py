"""One file per resource: parse, authorise, call, render."""
