"""`python -m bcai.cli`: the `bcai` command where no script of that name is installed."""

from bcai.cli.start import main

main()
