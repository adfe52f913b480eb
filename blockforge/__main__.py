"""`python -m blockforge`: the command line."""

from blockforge.cli import main

main(prog_name="blockforge")
