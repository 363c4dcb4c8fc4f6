"""Keep the notices of native libraries from burying a command's own output."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def hold_back_notices() -> Iterator[None]:
    """Keep what native code writes to stderr meanwhile off the terminal; show it on failure.

    Whoever sets TF_CPP_MIN_LOG_LEVEL, to look for a fault for instance, sees it all.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as notices:
        os.dup2(notices.fileno(), 2)
        try:
            yield
        except BaseException:
            notices.seek(0)
            os.write(terminal, notices.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def load_tensorflow_quietly() -> None:
    """Import TensorFlow and look for devices, holding back what it prints before any log level."""
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    logging.getLogger("absl").setLevel(logging.ERROR)
    with hold_back_notices():
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        finally:
            # TensorFlow has read it, and a child process should find what the user set: nothing.
            del os.environ["TF_CPP_MIN_LOG_LEVEL"]
