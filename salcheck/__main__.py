"""`python -m salcheck`: the command line."""

from salcheck.cli import main

main()
