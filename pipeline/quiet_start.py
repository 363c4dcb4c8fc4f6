"""Load TensorFlow without the notices that would bury a command's own output."""

import logging
import os
import tempfile


def load_tensorflow_quietly() -> None:
    """Import TensorFlow and look for devices, keeping its native notices off the terminal.

    They are printed before any log level applies. Whoever sets TF_CPP_MIN_LOG_LEVEL, to look
    for a fault for instance, sees them all; where loading fails, they are shown too.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    logging.getLogger("absl").setLevel(logging.ERROR)
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as notices:
        os.dup2(notices.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        except BaseException:
            notices.seek(0)
            os.write(terminal, notices.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            # TensorFlow has read it, and a child process should find what the user set: nothing.
            del os.environ["TF_CPP_MIN_LOG_LEVEL"]
