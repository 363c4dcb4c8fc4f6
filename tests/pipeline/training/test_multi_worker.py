"""Keras alone does not train on several hosts."""

import subprocess
import sys

from tests.commands import ROOT
from tests.ports import free_ports

FIT = """
import os, sys
from pipeline.console.quiet_start import load_tensorflow_quietly
load_tensorflow_quietly()
import keras, tensorflow as tf

cluster, index = tf.train.ClusterSpec({"worker": sys.argv[2:]}), int(sys.argv[1])
resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
    cluster, task_type="worker", task_id=index, rpc_layer="grpc"
)
strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
with strategy.scope():
    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(2)])
    model.compile("sgd", "mse", jit_compile=False)
batch = tf.ones([4, 2]), tf.ones([4, 2])
try:
    model.fit(
        strategy.distribute_datasets_from_function(lambda _: tf.data.Dataset.from_tensors(batch)), verbose=0
    )
    print("works", flush=True)
except Exception as error:
    print(type(error).__name__, str(error).splitlines()[0], flush=True)
os._exit(0)
"""


def test_keras_still_needs_what_the_project_adds():
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", FIT, str(index), *addresses], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for index in (1, 0)
    ]
    try:
        said = [process.communicate(timeout=300)[0] for process in hosts]
    finally:
        for process in hosts:
            process.kill()
    # Where it works, `pipeline/training/multi_worker.py` can go: see keras#20585.
    assert all("ValueError" in line for line in said), said
