"""The one exception that a user is meant to see."""


class SalcheckError(Exception):
    """A mistake that the user can mend, in one line: what was given, what there is, what to do.

    The command line prints the line and exits with 2; nothing else is caught, so a traceback always
    means a defect of salcheck.
    """
