"""What a format is: a report in, text out.

A format file has `render(report, pictures) -> str`; pictures: the file name of each curve's picture, as it lies beside
the text, by (run, metric); only formats with `PICTURES = True` are given any. The first line of its docstring is its
help.
"""
