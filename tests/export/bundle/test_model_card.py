"""The model card: the report's figures, in words for people."""

from export.bundle.model_card import write_card
from export.bundle.report import file_rows, tried_row
from tests.export.bundle.samples import NAMES


def test_figures_of_the_report_stand_in_the_card(report):
    card = write_card(report, NAMES)
    for text in (
        "width 16, trained on digits",
        "8 x 8 RGB pixels",
        "returns probabilities for 4 classes",
        "1,234,567 parameters, 89,012 multiply-adds an image; test accuracy 90.00% in Keras",
        "all 10 test images beside the Keras network",
        "Calibrated on 40 un-augmented images",
        "`ffffffffffffffff`",
        "differ by 1.2% in the median and by 4.6% at most (`conv1`)",
        "agree on 87.50% of validation, accuracies are 80.00% and 70.00%",
        "reference kernels on 40 images. Reserve an arena of 10,240 bytes (10.0 KiB)",
    ):
        assert text in card
    for row in (*file_rows(report), *map(tried_row, report["int8_tried"])):
        assert f"| {' | '.join(row)} |" in card


def test_the_card_tells_whether_probabilities_are_calibrated(report):
    assert "were not calibrated" in write_card(report, NAMES)
    card = write_card({**report, "temperature": 1.375}, NAMES)
    assert "were not calibrated" not in card
    assert "divided by a temperature of 1.375" in card


def test_the_card_tells_of_training_and_on_what_strategies_were_compared(report):
    card = write_card(report, NAMES)
    assert "Strategies were compared on 10 images of validation" in card
    assert "were trained with" not in card
    report["int8_tried"][1]["trained_epochs"] = 3
    report["calibration"] |= {"halves": None, "simulation_agreement": 0.9975}
    card = write_card(report, NAMES)
    assert "were trained with the rounding of int8 simulated" in card
    assert "3 epochs on train" in card
    assert "agrees with the simulation on 99.75% of validation" in card
    report["int8_tried"][1]["trained_epochs"] = 1
    assert "1 epoch on train" in write_card(report, NAMES)


def test_the_card_tells_of_c_source_where_there_is_some(report):
    assert "micro/" not in write_card(report, NAMES)
    assert "`door_int8.cc`" in write_card({**report, "c_source": True, "c_name": "door_int8"}, NAMES)


def test_the_card_lists_the_classes_of_the_int8_file_worst_first(report):
    report["files"]["float32"]["bytes"] = 1
    section = write_card(report, NAMES).split("## Class by class, ")[1].split("\n\n")
    assert section[0] == "model_int8.tflite"
    assert section[1].split("\n")[2:] == [
        "| cat | 100.00% | 50.00% | -50.00 |",
        "| dog | 100.00% | 100.00% | +0.00 |",
        "| owl | 66.67% | 100.00% | +33.33 |",
    ]


def test_the_card_says_why_tensorflow_lite_micro_was_skipped(report):
    report["tensorflow_lite_micro"] = {"skipped": "no kernel for X"}
    assert "TensorFlow Lite Micro: no kernel for X.\n" in write_card(report, NAMES)


def test_any_class_name_stands_in_one_cell(report):
    report["files"]["int8"]["per_class"] = {"a|b": {"float": 1.0, "exported": 0.5}}
    card = write_card(report, ["a|b"])
    assert r"| a\|b | 100.00% | 50.00% | -50.00 |" in card


def test_the_card_tells_which_clients_were_asked(report):
    report |= {"saved_model": None, "tensorflow_lite_micro": {"skipped": "not installed"}}
    assert "Asked at the export: LiteRT. Which" in write_card(report, NAMES)
    micro = {"images": 1, "arena_bytes": 16}
    report |= {"saved_model": {"file": "saved_model"}, "tensorflow_lite_micro": micro}
    assert "LiteRT, TensorFlow, TensorFlow Lite Micro. Which" in write_card(report, NAMES)


def test_the_card_tells_who_was_asked_of_files_for_onnx_runtime(report):
    nobody = {"saved_model": None, "tensorflow_lite_micro": None, "int8_tried": []}
    float32 = report["files"]["float32"]
    onnx = {**float32, "file": "model_float32.onnx", "opset": 17}
    card = write_card({**report, **nobody, "files": {"onnx": onnx}}, NAMES)
    assert "Asked at the export: ONNX Runtime. Which" in card
    card = write_card({**report, **nobody, "files": {"float32": float32, "onnx": onnx}}, NAMES)
    assert "Asked at the export: LiteRT, ONNX Runtime. Which" in card


def test_the_card_leaves_it_to_the_contract_what_of_an_image_is_seen(report):
    """With --resize crop it is not all of it."""
    use = write_card(report, NAMES).split("## Use")[1]
    assert "preprocessing.json" in use
    assert "whole image" not in use
