"""What a user is meant to see in one line: a mistake that can be mended, and that a signal ended the work."""


class SalcheckError(Exception):
    """A mistake that the user can mend, in one line: what was given, what there is, what to do.

    The command line prints the line and exits with 2. Beside it only what the system refuses (a full or broken disk, a
    file without the right to it) is caught, so a traceback always means a defect of salcheck.

    reason: the line in a few words without the name of the file, the same for all files of which it is true.
    """

    def __init__(self, line: str, reason: str = ""):
        super().__init__(line)
        self.reason = reason or line


class Stopped(BaseException):
    """A signal (Ctrl-C, SIGTERM) ended the work: no Exception, so that nothing takes it for a failure."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number
