"""The one exception for a run that was read rightly but must not be shipped."""

from pipeline.errors import OneLineError


class ExportFailed(OneLineError):
    """A check of the exported files failed. The message is one line: what, where and how far.

    The command line prints it without a traceback and exits with code 1; no bundle is written.
    """
