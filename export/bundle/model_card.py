"""The model card: what the network is, how good, what it cost to shrink, how to run it."""

from collections.abc import Mapping, Sequence
from typing import Any

from export.bundle.report import FILES_HEADER, SPEED_HEADER, TRIED_HEADER, file_rows, speed_rows, tried_row
from pipeline.console.tables import markdown_table


def write_card(report: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """Write the model card in Markdown (Mitchell et al. 2019, arXiv:1810.03993).

    Args:
        report: the content of `report.json`.
        class_names: label -> name.
    """
    run = report["run"]
    sections = [
        f"# {run['model']}, width {run['width']}, trained on {run['data']}",
        f"Takes {run['image_size']} x {run['image_size']} RGB pixels in [0, 255], returns "
        f"{report['output']} for {len(class_names)} classes (`labels.txt`). "
        f"{run['parameters']:,} parameters, {run['multiply_adds']:,} multiply-adds an image; "
        f"test accuracy {run['test_accuracy']:.2%} in Keras.",
    ]
    if report["files"]:
        sections += [*_files(report), *_quantisation(report), *_per_class(report), *_use(report)]
    sections += [
        "## Limits",
        f"The network knows its {len(class_names)} classes and no others: it names one of them "
        "for any image. Accuracy was measured on images from the same source as those it was "
        f"trained on; others will fare worse. {_calibration(report['temperature'])}",
    ]
    return "\n\n".join(sections) + "\n"


def _calibration(temperature: float) -> str:
    if temperature == 1:
        return "Its probabilities are as training left them, and were not calibrated."
    return (
        f"Its logits were divided by a temperature of {temperature:g}, so that its probabilities "
        "come closer to how often it is right (Guo et al. 2017, arXiv:1706.04599)."
    )


def _files(report: Mapping[str, Any]) -> list[str]:
    return [
        "## Files",
        markdown_table(FILES_HEADER, file_rows(report)),
        _measured(report),
        "## Speed",
        markdown_table(SPEED_HEADER, speed_rows(report)),
        "One image at a time, each file in a process of its own. Cold start is from the file to "
        "the first scores; memory is by how much the process grew; delegated are the operations "
        "of a TFLite file that XNNPACK took.",
    ]


def _use(report: Mapping[str, Any]) -> list[str]:
    onnx = {file["file"]: file["opset"] for file in report["files"].values() if "opset" in file}
    tflite = len(onnx) < len(report["files"])
    runtimes = ["ai-edge-litert"] * tflite + ["onnxruntime"] * bool(onnx)
    text = (
        f"`pip install {' '.join(runtimes)} numpy pillow`, then `python run.py IMAGE_OR_FOLDER ...`. "
        "What another device has to do is in `preprocessing.json`: decode an image and resize it as said "
        "there, no more."
    )
    if tflite:
        text += " `golden/` has inputs and the exact outputs, to check a port."
    if onnx:
        names = " and ".join(f"`{name}` (opset {opset})" for name, opset in onnx.items())
        text += (
            f" For ONNX Runtime: {names}; any number of images, `pixels`, float32 [batch, height, width, 3], "
            "become `scores`, float32 [batch, classes]."
        )
    if report["c_source"] is True:
        text += (
            f" For a microcontroller: `micro/`, which has the network as `{report['c_name']}.cc`, and a "
            "program that proves it there."
        )
    if report["npu"]:
        text += " `micro/npu/` has it compiled for the NPU."
    if pixels := report["device_pixels"]:
        text += (
            f" `run.py` was held to training on {pixels['files']} original files: its pixels differ by at "
            f"most {pixels['largest_difference']} of 255 levels."
        )
    return ["## Use", text, _clients(report)]


def _clients(report: Mapping[str, Any]) -> str:
    """Name the clients that the export itself asked."""
    opsets = ["opset" in file for file in report["files"].values()]
    asked = ["LiteRT"] * (not all(opsets)) + ["ONNX Runtime"] * any(opsets)
    if report["saved_model"]:
        asked.append("TensorFlow")
    if "skipped" not in (report["tensorflow_lite_micro"] or {"skipped": "no int8 file"}):
        asked.append("TensorFlow Lite Micro")
    return (
        f"Asked at the export: {', '.join(asked)}. Which other clients take which file, and how near they "
        "come, is in the project's `docs/deploy/README.md`."
    )


def _measured(report: Mapping[str, Any]) -> str:
    images = next(iter(report["files"].values()))["test_images"]
    processor = report["environment"].get("processor", "this machine")
    return (
        f"Measured on all {images:,} test images beside the Keras network; the drop is paired, "
        "image by image, with its 95 % confidence interval. Latency is of one image on one "
        f"thread of {processor}. The arena is what to reserve for TensorFlow Lite Micro."
    )


def _quantisation(report: Mapping[str, Any]) -> list[str]:
    if not report["int8_tried"]:
        return []
    (chosen,) = (tried for tried in report["int8_tried"] if tried["chosen"])
    calibration = report["calibration"]
    how = _trained(chosen, calibration) if chosen["trained_epochs"] else _stability(calibration["halves"])
    text = (
        f"Calibrated on {calibration['images']} un-augmented images of train, none of them in "
        f"test (fingerprint `{calibration['fingerprint'][:16]}`). "
        f"{how} "
        f"Strategies were compared on {chosen['validation_images']:,} images of validation; for test the "
        "chosen one's file answered once, and no other's."
    )
    return [
        "## Quantisation to int8",
        text,
        markdown_table(TRIED_HEADER, [tried_row(tried) for tried in report["int8_tried"]]),
        _micro(report),
        *_npu(report["npu"]),
    ]


def _stability(halves: Mapping[str, Any]) -> str:
    first, second = halves["accuracies"]
    return (
        "Quantised by either half of them "
        f"alone: scales differ by {halves['median_scale_change']:.1%} in the median and by "
        f"{halves['largest_scale_change']:.1%} at most (`{halves['largest_layer']}`), answers "
        f"agree on {halves['agreement']:.2%} of validation, accuracies are {first:.2%} and "
        f"{second:.2%}."
    )


def _trained(chosen: Mapping[str, Any], calibration: Mapping[str, Any]) -> str:
    epochs = chosen["trained_epochs"]
    return (
        "Then all weights and ranges were trained with the rounding of int8 simulated "
        f"(Jacob et al. 2018, arXiv:1712.05877), {epochs} epoch{'s' * (epochs > 1)} on train: so they are "
        "not those of the other files. The file agrees with the simulation on "
        f"{calibration['simulation_agreement']:.2%} of validation."
    )


def _micro(report: Mapping[str, Any]) -> str:
    micro = report["tensorflow_lite_micro"]
    if "skipped" in micro:
        return f"TensorFlow Lite Micro: {micro['skipped']}."
    return (
        f"TensorFlow Lite Micro gives the same bytes as LiteRT's reference kernels on "
        f"{micro['images']} images. Reserve an arena of {micro['arena_bytes']:,} bytes "
        f"({micro['arena_bytes'] / 1024:.1f} KiB)."
    )


def _npu(npu: Mapping[str, Any] | None) -> list[str]:
    if npu is None:
        return []
    left = ", ".join(f"{count} {name}" for name, count in npu["cpu_operations"].items())
    return [
        f"On the NPU {npu['npu']}, as Vela {npu['vela']} estimates ({npu['system']}, {npu['memory_mode']}, "
        f"{npu['clock_hz'] / 1e6:g} MHz; no hardware was asked): {npu['milliseconds']:.3f} ms an image, "
        f"{npu['sram_bytes'] / 1024:.1f} KiB of SRAM; operations left to the processor: {left or 'none'}."
    ]


def _per_class(report: Mapping[str, Any]) -> list[str]:
    """Class by class for the int8 file, else the smallest, those that lost most first."""
    smallest = min(report["files"].values(), key=lambda file: file["bytes"])
    file = report["files"].get("int8", smallest)
    changes = [
        (label, f"{share['float']:.2%}", f"{share['exported']:.2%}", _points(share))
        for label, share in file["per_class"].items()
        if share["float"] is not None
    ]
    changes.sort(key=lambda row: float(row[3]))
    return [
        f"## Class by class, {file['file']}",
        markdown_table(("class", "Keras", "exported", "change, points"), changes[:20]),
    ]


def _points(share: Mapping[str, float]) -> str:
    return f"{100 * (share['exported'] - share['float']):+.2f}"
