"""An .onnx file beside the .tflite files: made by tf2onnx, quantised and run by ONNX Runtime.

Neither package is among the requirements: what needs them imports them when it is called.
"""

__all__ = ["convert", "file", "quantize", "session"]
