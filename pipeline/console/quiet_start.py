"""Keep the notices of native libraries from burying a command's own output."""

import contextlib
import gc
import logging
import os
import tempfile
from collections.abc import Iterator

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
SILENT, FATAL = 2, 3
"""From these levels on TensorFlow prints errors alone, and what ends the process: whoever sets one of them
wants no notices."""


@contextlib.contextmanager
def hold_back_notices() -> Iterator[None]:
    """Keep what native code writes to stderr meanwhile off the terminal; show it on failure.

    Whoever sets TF_CPP_MIN_LOG_LEVEL to 0 or 1, to look for a fault for instance, sees it all.
    """
    if _all_is_asked_for():
        yield
        return
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as notices:
        os.dup2(notices.fileno(), 2)
        try:
            yield
        except BaseException:
            notices.seek(0)
            with contextlib.suppress(OSError):
                # Where nobody can read them, the exception still tells.
                os.write(terminal, notices.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _all_is_asked_for() -> bool:
    level = os.environ.get(LOG_LEVEL)
    return level is not None and not (level.isdecimal() and int(level) >= SILENT)


def load_tensorflow_quietly() -> None:
    """Import TensorFlow and look for devices, holding back what it prints before any log level.

    Garbage is not collected meanwhile: a fifth of the time, for objects that all stay.
    """
    if _all_is_asked_for():
        return
    logging.getLogger("absl").setLevel(logging.ERROR)
    with hold_back_notices():
        asked = LOG_LEVEL in os.environ
        # An error is raised as well: of a JPEG that is cut off there would be two lines.
        os.environ.setdefault(LOG_LEVEL, str(FATAL))
        gc.disable()
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        finally:
            gc.enable()
            if not asked:
                # TensorFlow has read it, and a child process should find what the user set: nothing.
                del os.environ[LOG_LEVEL]
