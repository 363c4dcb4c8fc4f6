"""What a run can be exported as: each format, its file and what it is for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """One way to write the network.

    Attributes:
        name: what `--formats` calls it.
        file: its name in the bundle.
        purpose: who takes it, and how numbers are held in it.
        needs: packages that make it and that are not among the requirements.
    """

    name: str
    file: str
    purpose: str
    needs: tuple[str, ...] = ()


ONNX = ("tf2onnx", "onnxruntime")

FORMATS = {
    kind.name: kind
    for kind in (
        Format("saved_model", "saved_model", "TensorFlow and TF Serving, any batch size"),
        Format("float32", "model_float32.tflite", "TFLite as trained; the reference"),
        Format("float16", "model_float16.tflite", "half the size; GPUs compute in it"),
        Format("dynamic", "model_dynamic.tflite", "int8 weights, float activations"),
        Format("int8", "model_int8.tflite", "int8 weights and activations; CPUs, NPUs, MCUs"),
        Format("int16", "model_int16.tflite", "int8 weights, int16 activations; slow, accurate"),
        Format("onnx", "model_float32.onnx", "ONNX Runtime as trained, any batch size", ONNX),
        Format("onnx_int8", "model_int8.onnx", "int8 weights, uint8 activations, any batch size", ONNX),
    )
}
"""Every format by name."""

TFLITE = tuple(kind.name for kind in FORMATS.values() if kind.file.endswith(".tflite"))
"""Those that LiteRT runs."""

ALL = tuple(kind.name for kind in FORMATS.values() if not kind.needs)
"""What `--formats all` means: the same wherever the requirements are installed."""

MAX_FILE_BYTES = 2**31 - 1
"""A .tflite file is a FlatBuffer, whose offsets have 32 bits with a sign."""

DEFAULT_FORMATS = ("saved_model", "float32", "float16", "int8")

OUTPUTS = ("logits", "probabilities")
"""What the exported network may return."""

INPUT_TYPES = ("int8", "uint8")
"""How the int8 file may take pixels and return scores."""
