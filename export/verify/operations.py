"""Which operations an exported file may hold: built-in ones, and of a full-int8 file integer ones."""

from collections.abc import Collection

from export.errors import ExportFailed
from pipeline.tflite.graph import Graph


def verify_built_in(graph: Graph) -> None:
    """Check that TFLite's built-in operations are all there is.

    Raises:
        ExportFailed: a custom or TensorFlow (flex) operation; it and its layer are named.
    """
    for operation in graph.operations:
        if operation.custom:
            raise ExportFailed(
                "only built-in TFLite operations may be exported; layer "
                f"{operation.layer!r} needs {operation.name}"
            )


def verify_integer_only(graph: Graph, kept_float: Collection[str] = ()) -> None:
    """Check that a full-int8 file computes in integers from its input to its output.

    A QUANTIZE may stand first and last, where it turns uint8 into int8 and back.

    Args:
        graph: of the file.
        kept_float: Keras layers that were left in floating point on purpose; only where there
            are any may values be converted in the middle.

    Raises:
        ExportFailed: a tensor in floating point, or a conversion in the middle.
    """
    for place, operation in enumerate(graph.operations):
        converts = operation.name in ("QUANTIZE", "DEQUANTIZE")
        ends = operation.inputs[0].dtype, operation.output.dtype
        to_or_from_float = sum(dtype.startswith("float") for dtype in ends) == 1
        if operation.layer in kept_float or (kept_float and converts and to_or_from_float):
            continue
        for tensor in (*operation.inputs, operation.output):
            if tensor.dtype.startswith("float"):
                raise ExportFailed(
                    f"a full-int8 file must compute in integers; {operation.name} of layer "
                    f"{operation.layer!r} works on {tensor.dtype}"
                )
        at_the_edge = place in (0, len(graph.operations) - 1)
        if converts and not at_the_edge:
            raise ExportFailed(
                "a full-int8 file must keep one scale from a layer to the next; "
                f"{operation.name} stands after layer {operation.layer!r}"
            )
    for end in (graph.input, graph.output):
        if end.dtype.startswith("float"):
            raise ExportFailed(f"a full-int8 file must take and return integers; {end.name} is {end.dtype}")
