"""The way to an int8 file: the ladder rung by rung, the judge of each, and the two halves."""

import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.metrics import accuracy_score

from export import int8, repair
from export.alignment import align_weights
from export.calibration import Calibrator, clip_by_percentile, clip_by_squared_error
from export.converter import Converter, quantize_to_int8
from export.errors import ExportFailed
from export.finished_run import CalibrationPictures
from export.gate import compare
from export.graph import read_graph, verify_integer_only
from export.int8 import compare_halves, try_rungs
from export.judge import Judge
from export.layer_error import LayerError
from export.litert import LiteRTModel
from export.network import write_single_picture_graph
from export.repair import Rung, climb
from pipeline.data.batches import Examples
from pipeline.data.pictures import ArrayPictures, Source

LOUD = 1000.0
"""By how much the planted channel of conv1 is louder than its neighbours."""

TABLE = np.random.default_rng(0)
BRIGHTNESS = TABLE.uniform(0, 1, (300, 1, 1, 3))
IMAGES = (BRIGHTNESS * TABLE.integers(0, 256, (300, 8, 8, 3))).astype(np.uint8)
"""Pictures that differ in brightness and colour, as noise alone would not."""

ROWS = TABLE.permutation(300)[:200]
"""The test split: more than one batch, and not in the order of the table."""


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Normalised pixels, conv1, whose first channel is far too loud, two that read it, a head.

    What reads the loud channel turns it down again: quantisation of conv1 alone is the trouble.
    """
    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")(pixels)
    x = layers.ReLU(name="relu1")(layers.BatchNormalization(name="norm1")(x))
    readers = [layers.Conv2D(8, 3, padding="same", name=name) for name in ("conv2", "conv3")]
    x = layers.Add(name="add")([reader(x) for reader in readers])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(pixels, layers.Dense(4, name="head")(x), name="small")
    gamma = np.float32([LOUD, 1, 1, 1, 1, 1, 1, 1])
    network.get_layer("norm1").set_weights([gamma, np.zeros(8), np.zeros(8), np.full(8, 1e4)])
    for reader in readers:
        kernel, bias = reader.get_weights()
        kernel[:, :, 0] /= LOUD
        reader.set_weights([kernel, bias])
    # Scores of the mean picture are alike, so that each class is the answer to some pictures.
    kernel, bias = network.get_layer("head").get_weights()
    mean_scores = network.predict(IMAGES.astype(np.float32), verbose=0).mean(axis=0)
    network.get_layer("head").set_weights([kernel, bias - mean_scores])
    return network


@pytest.fixture(scope="module")
def names(network) -> list[str]:
    return [layer.name for layer in network.layers]


@pytest.fixture(scope="module")
def float32(network, names, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("graph")
    write_single_picture_graph(network, path)
    return Converter(path, names).float32()


def keras_scores(network) -> np.ndarray:
    return network.predict(IMAGES.astype(np.float32), verbose=0)


@pytest.fixture(scope="module")
def split(network) -> Examples:
    """Pictures of which the network gets about two of three right."""
    random = np.random.default_rng(1)
    guesses = random.integers(0, 4, len(IMAGES))
    known = random.uniform(size=len(IMAGES)) < 0.6
    labels = np.where(known, keras_scores(network).argmax(axis=-1), guesses)
    pictures, digests = ArrayPictures(IMAGES), np.zeros((300, 1), np.uint8)
    source = Source("made up", tuple("abcd"), labels.astype(np.int64), digests, pictures, {})
    return Examples(source, ROWS, 8)


@pytest.fixture(scope="module")
def judge(network, split) -> Judge:
    return Judge(network, split)


def pictures(count: int) -> CalibrationPictures:
    return CalibrationPictures(IMAGES[:count], f"the first {count}", 0)


def draw_more(more: int) -> CalibrationPictures:
    return pictures(10 + more)


@pytest.fixture(scope="module")
def rungs(float32, names) -> list[Rung]:
    return list(climb(float32, pictures(10), draw_more, names, "int8"))


@pytest.fixture(scope="module")
def contents(rungs, float32) -> list[bytes]:
    return [rung.quantize(float32, rung.calibration.images) for rung in rungs]


def output_of(graph, layer: str):
    return next(op.output for op in graph.operations if op.layer == layer)


# The ladder.


def test_rungs_are_named_for_what_was_done(rungs):
    names = [rung.name for rung in rungs]
    assert names[:5] == [
        "10 pictures, full range",
        "50 pictures, full range",
        "50 pictures, clipped by percentile",
        "50 pictures, least squared error",
        "50 pictures, least squared error, conv1 and conv2 and conv3 in float32",
    ]
    assert all(name.startswith(f"{names[3]}, conv1 and ") for name in names[5:])
    assert [rung.calibration.fingerprint for rung in rungs] == ["the first 10"] + 6 * [
        "the first 50"
    ]


def test_the_ladder_is_climbed_no_higher_than_asked(float32, names, monkeypatch):
    done = []
    rank = repair.rank_layers
    monkeypatch.setattr(repair, "rank_layers", lambda *given: done.append("rank") or rank(*given))

    def draw(more: int) -> CalibrationPictures:
        done.append(f"draw {more}")
        return draw_more(more)

    steps = []
    for _ in climb(float32, pictures(10), draw, names, "int8"):
        steps.append(tuple(done))
        done.clear()
    assert steps == [(), ("draw 40",), (), (), ("rank",), (), ()]


def test_each_rung_of_integers_quantises_by_its_own_pictures_and_ranges(rungs, contents, float32):
    few, many = Calibrator(float32, IMAGES[:10]), Calibrator(float32, IMAGES[:50])
    expected = [
        few.full,
        many.full,
        many.clipped(clip_by_percentile),
        many.clipped(clip_by_squared_error),
    ]
    files = [align_weights(quantize_to_int8(float32, ranges)) for ranges in expected]
    assert contents[:4] == files
    assert len(set(files)) == 4
    for rung, content in zip(rungs[:4], contents[:4], strict=True):
        assert rung.kept_float == ()
        verify_integer_only(read_graph(content))


def test_neither_the_worst_layer_nor_what_reads_it_is_ever_quantised(
    rungs, contents, float32, names
):
    worst = output_of(read_graph(float32, names), "conv1")
    for rung, content in zip(rungs[4:], contents[4:], strict=True):
        graph = read_graph(content, names)
        readers = [op for op in graph.operations if worst.name in {i.name for i in op.inputs}]
        assert sorted((op.name, op.layer) for op in readers) == [
            ("CONV_2D", "conv2"),
            ("CONV_2D", "conv3"),
        ]
        assert output_of(graph, "conv1").name == worst.name
        computed = [op for op in graph.operations if op.layer in ("conv1", "conv2", "conv3")]
        for op in computed:
            if op.name == "CONV_2D":
                assert {tensor.dtype for tensor in (*op.inputs, op.output)} == {"float32"}
        assert set(rung.kept_float) >= {"conv1", "conv2", "conv3"}
        verify_integer_only(graph, rung.kept_float)
        assert (graph.input.dtype, graph.output.dtype) == ("int8", "int8")
    assert set(rungs[4].kept_float) == {"conv1", "conv2", "conv3"}
    # The rest computes in integers still, else it would be no int8 file.
    assert output_of(read_graph(contents[4], names), "add").dtype == "int8"


def test_what_the_layer_before_lost_comes_back(contents, float32):
    exact = LiteRTModel(float32).predict(IMAGES[:50])
    errors = []
    for content in contents:
        off = LiteRTModel(content).predict(IMAGES[:50]) - exact
        errors.append(np.linalg.norm(off) / np.linalg.norm(exact - exact.mean(axis=0)))
    # Six silent channels of eight take most of the differences between pictures with them; int8
    # as such, of 256 levels a layer, costs a few percent.
    assert min(errors[:2]) > 0.3
    assert max(errors[4:]) < 0.1


@pytest.mark.parametrize(
    ("worst", "kept"),
    [
        (["add"], {"add", "pool"}),
        (["conv2"], {"conv2", "add"}),
        (["conv2", "conv3"], {"conv2", "conv3", "add"}),
        (["pool", "conv1"], {"pool", "head", "conv1", "conv2", "conv3"}),
    ],
)
def test_readers_are_all_that_read_and_none_else(float32, names, monkeypatch, worst, kept):
    graph = read_graph(float32, names)
    planted = [LayerError(name, "", output_of(graph, name).name, 0.0) for name in worst]
    monkeypatch.setattr(repair, "rank_layers", lambda *given: planted)
    last = list(climb(float32, pictures(4), draw_more, names, "int8"))[-1]
    assert set(last.kept_float) == kept
    assert len(last.kept_float) == len(kept)
    layer_of = {op.output.name: op.layer for op in graph.operations if op.name != "RESHAPE"}
    assert {layer_of[tensor] for tensor in last.kept_tensors if tensor in layer_of} == kept


def test_uint8_is_passed_on_to_every_rung(float32, names):
    ladder = climb(float32, pictures(4), draw_more, names, "uint8")
    assert [rung.input_type for rung in ladder] == ["uint8"] * 7


# The judge.


def test_each_test_picture_is_judged_once_and_beside_its_own_label(
    network, judge, float32, contents, split
):
    files = {"float32": float32, "int8": contents[0]}
    scores = judge.scores(files)
    labels = split.source.labels[ROWS]
    expected = keras_scores(network)[ROWS]
    assert list(scores) == ["float32", "int8"]
    # Float32 adds up the same terms in another order; scores are of the order of 10.
    np.testing.assert_allclose(scores["float32"], expected, atol=1e-3)
    for name, content in files.items():
        answers = LiteRTModel(content).predict(IMAGES[ROWS]).argmax(axis=-1)
        comparison = judge.compare(scores[name])
        assert comparison.pictures == len(ROWS) == len(scores[name])
        assert comparison.float_accuracy == accuracy_score(labels, expected.argmax(axis=-1))
        assert comparison.accuracy == accuracy_score(labels, answers)
        assert comparison.agreement == accuracy_score(expected.argmax(axis=-1), answers)
    # Otherwise any order of labels, or the same file twice, would have done.
    assert 0.5 < judge.compare(scores["float32"]).accuracy < 0.9
    assert judge.compare(scores["int8"]).agreement < 1


# Each rung before the judge.


class Court:
    """A judge whose verdicts are known: labels 0, 1, 2, 3, all right in floating point."""

    labels = np.arange(4)

    def __init__(self, *answers: list[int]) -> None:
        self.answers, self.heard = list(answers), []

    def scores(self, files):
        self.heard.append(files)
        return {name: np.eye(4)[self.answers.pop(0)] for name in files}

    def compare(self, scores):
        return compare(self.labels, np.eye(4), scores)


@pytest.fixture
def quick(monkeypatch):
    """No timing, which has tests of its own; calibration pictures from a list."""
    monkeypatch.setattr(int8, "measure_file", lambda *given, **named: SimpleNamespace(p50_ms=0.25))
    drawn = []

    def load(run, more=0):
        drawn.append((run, more))
        return draw_more(more)

    monkeypatch.setattr(int8, "load_calibration", load)
    return drawn


def try_all(float32, names, court, input_type="int8"):
    return try_rungs(float32, "the run", court, names, input_type)


def test_what_is_judged_is_what_is_shipped(float32, names, quick):
    court = Court([0, 1, 0, 0], [0, 1, 2, 0])
    tried = try_all(float32, names, court)
    first = next(tried)
    assert (quick, len(court.heard)) == ([("the run", 0)], 1)
    second = next(tried)
    assert quick == [("the run", 0), ("the run", 40)]
    assert court.heard == [{"int8": first.content}, {"int8": second.content}]
    assert align_weights(first.content) == first.content  # Nothing was left to be moved.
    assert [each.rung.name[:2] for each in (first, second)] == ["10", "50"]
    assert [each.comparison.drop for each in (first, second)] == [50.0, 25.0]
    assert (second.latency_ms, second.rung.kept_float) == (0.25, ())


def test_uint8_reaches_the_file(float32, names, quick):
    first = next(try_all(float32, names, Court([0, 1, 2, 3]), input_type="uint8"))
    graph = read_graph(first.content)
    assert (graph.input.dtype, graph.output.dtype) == ("uint8", "uint8")


@pytest.mark.parametrize("kept", [(), ("conv1", "conv2")])
def test_a_layer_that_computes_in_float_unasked_is_refused(
    float32, names, rungs, quick, monkeypatch, kept
):
    rung = dataclasses.replace(rungs[4], kept_float=kept)
    monkeypatch.setattr(int8, "climb", lambda *given: iter([rung]))
    with pytest.raises(ExportFailed, match="must compute in integers; "):
        next(try_all(float32, names, Court([0, 1, 2, 3])))


def test_a_layer_that_was_left_in_float_on_purpose_is_not(
    float32, names, rungs, quick, monkeypatch
):
    monkeypatch.setattr(int8, "climb", lambda *given: iter([rungs[4]]))
    (tried,) = try_all(float32, names, Court([0, 1, 2, 3]))
    assert tried.rung == rungs[4]
    assert tried.comparison.drop == 0


# The two halves.


def test_halves_are_disjoint_and_cover_all(float32, names, monkeypatch):
    seen = []
    monkeypatch.setattr(
        repair, "Calibrator", lambda file, half: seen.append(half) or Calibrator(file, half)
    )
    court = Court([0] * 4, [0] * 4)
    halves = compare_halves(float32, Rung(pictures(11), "int8"), court, names)
    assert halves.pictures == (6, 5)
    rows = [[int(np.argmax((image == IMAGES).all(axis=(1, 2, 3)))) for image in h] for h in seen]
    assert [len(half) for half in rows] == [6, 5]
    assert sorted(rows[0] + rows[1]) == list(range(11))


@pytest.mark.parametrize("place", [0, 3, 4])
def test_halves_answers_and_scales_worked_by_hand(float32, names, rungs, place):
    rung = dataclasses.replace(rungs[place], calibration=pictures(12))
    court = Court([0, 1, 2, 0], [0, 1, 1, 1])
    halves = compare_halves(float32, rung, court, names)
    files = [rung.quantize(float32, half) for half in (IMAGES[:6], IMAGES[6:12])]
    assert list(court.heard[0].values()) == files
    assert halves.agreement == 2 / 4
    assert halves.accuracies == (3 / 4, 2 / 4)

    scales = [LiteRTModel(file)._interpreter.get_tensor_details() for file in files]
    graph = read_graph(files[0], names)
    changes = {}
    for op in graph.operations:
        one, two = (each[op.output.index]["quantization"][0] for each in scales)
        if one:
            change = abs(one - two) / ((one + two) / 2)
            changes[op.layer] = max(change, changes.get(op.layer, 0.0))
    assert halves.median_scale_change == pytest.approx(np.median(list(changes.values())))
    assert halves.largest_scale_change == pytest.approx(max(changes.values()))
    assert changes[halves.largest_layer] == max(changes.values()) > 0
