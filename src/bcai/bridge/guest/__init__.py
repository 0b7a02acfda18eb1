"""Inside the jail: runs the code, captures outputs and progress."""
