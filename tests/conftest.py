"""What all tests share: two logical CPUs, so that mirroring can be tried on any machine."""

import pytest

from pipeline.quiet_start import load_tensorflow_quietly

load_tensorflow_quietly()

import tensorflow as tf  # noqa: E402

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration() for _ in range(2)],
)


@pytest.fixture(autouse=True)
def _same_dtype_policy_before_and_after():
    """A test that changes the global dtype policy and fails must not change the next test."""
    import keras

    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)
