"""What a command is: a file of this folder with a function `command`, whose annotations typer reads.

The file's name is the command's name, the first sentence of the function's docstring its line in `salcheck --help`.
`STOPPED` says in a few words what is left where Ctrl-C or SIGTERM stops it. Everything heavy is imported inside the
function, so that `--help` stays quick.
"""
