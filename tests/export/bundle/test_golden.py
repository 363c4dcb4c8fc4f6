"""Golden vectors hold the bytes, sums and numbers that a board must reproduce."""

import binascii
import json

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from export.bundle.golden import verify_golden, write_golden
from export.convert.converter import Range, quantize_to_int8
from export.errors import ExportFailed

# Each of another colour, so that the network's answers differ.
COLOURS = np.random.default_rng(0).integers(0, 192, (12, 1, 1, 3))
IMAGES = (COLOURS + np.random.default_rng(1).integers(0, 64, (12, 6, 5, 3))).astype(np.uint8)
NAME = "model_of_a_test.tflite"
FORMATS = ("float32", "int8", "uint8", "int16")


def _crc32(data: bytes) -> str:
    """Divide bit by bit by the reflected polynomial (RFC 1952, section 8)."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ 0xEDB88320 * (register & 1)
    return f"0x{register ^ 0xFFFFFFFF:08x}"


def test_this_reference_gives_the_check_value_of_crc_32():
    assert _crc32(b"123456789") == "0xcbf43926"  # of CRC-32/ISO-HDLC, Williams 1993


@pytest.fixture(scope="module")
def files(converter_of):
    """A tiny network in every format that TensorFlow Lite Micro takes."""
    x = pixels = keras.Input((6, 5, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalization")(x)
    x = layers.Conv2D(4, 3, name="stem_conv")(x)
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    net = keras.Model(pixels, layers.Dense(7, name="head")(x), name="net")
    rng = np.random.default_rng(6)
    net.set_weights([rng.normal(0, 0.5, weights.shape) for weights in net.get_weights()])
    converter = converter_of(net)
    float32 = converter.float32()
    tensors = float32.graph
    ranges = {operation.output.name: Range(-4.0, 4.0) for operation in tensors.operations}
    ranges[tensors.input.name] = Range(0.0, 255.0)
    return {
        "float32": float32,
        "int8": quantize_to_int8(float32, ranges),
        "uint8": quantize_to_int8(float32, ranges, input_type="uint8"),
        "int16": converter.int16(IMAGES),
    }


@pytest.fixture(scope="module", params=FORMATS)
def golden(request, files, tmp_path_factory):
    """The format's name, the file, and the folder of its vectors."""
    folder = tmp_path_factory.mktemp(request.param) / "golden"
    write_golden(NAME, files[request.param], IMAGES, folder)
    return request.param, files[request.param], folder


def _read(folder) -> dict:
    return json.loads((folder / "golden.json").read_text())


def test_every_sum_is_the_crc_32_of_its_file(golden):
    _, file, folder = golden
    description = _read(folder)
    assert description["model"] == {"file": NAME, "bytes": file.size, "crc32": _crc32(file.content)}
    assert len(description["vectors"]) == len(IMAGES)
    for number, vector in enumerate(description["vectors"]):
        for side in ("input", "output"):
            name = f"{side}_{number}.bin"
            data = (folder / name).read_bytes()
            crc = f"0x{binascii.crc32(data):08x}"
            assert crc == _crc32(data)
            assert vector[side] == {"file": name, "bytes": len(data), "crc32": crc}


def test_tensors_are_described_as_the_file_says(golden):
    kind, file, folder = golden
    graph = file.graph
    description = _read(folder)
    for side, shape in (("input", [1, 6, 5, 3]), ("output", [1, 7])):
        tensor, described = getattr(graph, side), description[side]
        assert described["dtype"] == kind
        assert described["shape"] == shape
        if kind == "float32":
            assert described["scale"] is described["zero_point"] is None
        else:
            assert described["scale"] == tensor.scales[0]
            assert described["zero_point"] == tensor.zero_points[0]


def test_images_are_kept_as_they_are(golden):
    _, _, folder = golden
    for number, image in enumerate(IMAGES):
        np.testing.assert_array_equal(np.asarray(Image.open(folder / f"input_{number}.png")), image)


def test_input_bytes_stand_for_the_pixels(golden):
    """Level = pixel / scale + zero point, little-endian, row after row."""
    kind, _, folder = golden
    described = _read(folder)["input"]
    scale, zero_point = described["scale"] or 1, described["zero_point"] or 0
    for number, image in enumerate(IMAGES):
        stored = np.fromfile(folder / f"input_{number}.bin", np.dtype(kind).newbyteorder("<"))
        exact = image.reshape(-1) / scale + zero_point
        # Rounding to the next level moves by half of one; float32 may tip a tie.
        assert np.abs(stored - exact).max() <= (0 if kind == "float32" else 0.501)


def test_output_bytes_are_what_tensorflow_lite_micro_computes(golden):
    runtime = pytest.importorskip(
        "tflite_micro.python.tflite_micro.runtime", reason="tflite-micro is not installed"
    )
    kind, file, folder = golden
    dtype = np.dtype(kind).newbyteorder("<")
    board = runtime.Interpreter.from_bytes(file.content)
    vectors = _read(folder)["vectors"]
    for number, vector in enumerate(vectors):
        pixels = np.fromfile(folder / f"input_{number}.bin", dtype).reshape(1, 6, 5, 3)
        board.set_input(pixels.astype(kind), 0)
        board.invoke()
        scores = board.get_output(0)
        stored = np.fromfile(folder / f"output_{number}.bin", dtype)
        np.testing.assert_array_equal(stored, scores[0])
        assert vector["top_class"] == scores[0].argmax()
    # Vectors that all answer alike would show little.
    assert len({vector["top_class"] for vector in vectors}) > 1


def test_the_folder_says_how_to_use_it(golden):
    _, _, folder = golden
    readme = (folder / "README.md").read_text()
    assert {path.name for path in folder.iterdir() if "_" not in path.name} == {"golden.json", "README.md"}
    for name in ("input_0.bin", "output_0.bin", "input_0.png", "golden.json", "123456789"):
        assert name in readme


def test_what_was_written_passes(golden):
    _, file, folder = golden
    verify_golden(NAME, file, folder)


@pytest.fixture
def few(files, tmp_path):
    """Two vectors of the int8 file, to be spoilt."""
    write_golden(NAME, files["int8"], IMAGES[:2], tmp_path / "golden")
    return files["int8"], tmp_path / "golden"


FILES = ("input_1.bin", "output_1.bin", "input_1.png", "golden.json")


@pytest.mark.parametrize("name", FILES)
def test_one_wrong_byte_is_noticed(name, few):
    file, folder = few
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ExportFailed, match=name if name != "input_1.png" else "input_1"):
        verify_golden(NAME, file, folder)


@pytest.mark.parametrize(("place", "change"), [(8, 1), (11, -1), (36, -20)])
def test_a_wrong_length_inside_an_image_is_noticed(place, change, few):
    """Of the header, far too long or one too short, and of the pixels (PNG, section 5.3)."""
    file, folder = few
    data = bytearray((folder / "input_1.png").read_bytes())
    data[place] += change
    (folder / "input_1.png").write_bytes(data)
    with pytest.raises(ExportFailed, match=r"input_1\.png must be a whole PNG file"):
        verify_golden(NAME, file, folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_short_file_is_noticed(name, few):
    file, folder = few
    half = (folder / name).read_bytes()[: (folder / name).stat().st_size // 2]
    for left in (half, b""):
        (folder / name).write_bytes(left)
        with pytest.raises(ExportFailed):
            verify_golden(NAME, file, folder)
    (folder / name).unlink()
    with pytest.raises(ExportFailed):
        verify_golden(NAME, file, folder)


def test_a_wrong_sum_is_noticed(few):
    file, folder = few
    path = folder / "golden.json"
    crc = _read(folder)["vectors"][1]["output"]["crc32"]
    path.write_text(path.read_text().replace(crc, "0x00000000"))
    with pytest.raises(ExportFailed, match=r"golden\.json must be"):
        verify_golden(NAME, file, folder)


def test_vectors_of_another_file_are_noticed(few, files):
    _, folder = few
    with pytest.raises(ExportFailed):
        verify_golden(NAME, files["uint8"], folder)


def test_another_image_is_noticed(few):
    file, folder = few
    Image.fromarray(IMAGES[5]).save(folder / "input_0.png")
    with pytest.raises(ExportFailed, match=r"input_0\.bin must be .*0x[0-9a-f]{8}.*; received"):
        verify_golden(NAME, file, folder)
