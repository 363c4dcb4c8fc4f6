"""From a float32 .tflite file to an int8 one."""
