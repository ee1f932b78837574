"""What a format is: a report in, text out.

A format file has `render(report, pictures) -> str`. pictures: the file names of the curves' pictures, which are saved
beside the text, by (run, metric). Only formats with `PICTURES = True` get any. The first line of the file's docstring
is its help.
"""
