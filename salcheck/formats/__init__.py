"""What a format is: a report in, text out.

A format file has `render(report) -> str`. The first line of its docstring is its help.
"""
