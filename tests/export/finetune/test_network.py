"""A .tflite file as TensorFlow operations: LiteRT's own answers, for whole batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.errors import ExportFailed
from export.finetune.network import _OPERATIONS, compute, verify_known
from pipeline.tflite.constants import read_constants
from tests.export.finetune.samples import IMAGES


def test_every_operation_computes_what_litert_computes(every_operation):
    graph = every_operation.graph
    assert {operation.name for operation in graph.operations} == _OPERATIONS.keys()
    verify_known(graph)
    logits = compute(graph, tf.cast(IMAGES[:8], tf.float32), read_constants(every_operation.content))
    # Of float32's 24 bits other orders of adding up cost two or three.
    np.testing.assert_allclose(tf.nn.softmax(logits), every_operation.predict(IMAGES[:8]), atol=1e-6)
    assert np.ptp(tf.nn.softmax(logits), axis=0).min() > 0.3


def test_an_operation_that_cannot_be_trained_is_named(converter_of):
    pixels = keras.Input((6, 9, 3), name="pixels")
    x = keras.layers.Activation("sigmoid", name="gate")(keras.layers.Conv2D(4, 3, name="conv")(pixels))
    network = keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="pool")(x))
    with pytest.raises(ExportFailed, match=r"^--finetune knows ADD, .*; layer 'gate' is another LOGISTIC$"):
        verify_known(converter_of(network).float32().graph)
