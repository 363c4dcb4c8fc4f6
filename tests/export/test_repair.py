"""The way to an int8 file: the ladder rung by rung, the judge of each, and the two halves."""

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


def draw_more(more: int) -> np.ndarray:
    return IMAGES[: 10 + more]


@pytest.fixture(scope="module")
def rungs(float32, names) -> list[Rung]:
    return list(climb(float32, IMAGES[:10], draw_more, names, "int8"))


def output_of(graph, layer: str):
    return next(op.output for op in graph.operations if op.layer == layer)


# The ladder.


def test_rungs_are_named_for_what_was_done(rungs):
    names = [rung.name for rung in rungs]
    assert names[:5] == [
        "10 calibration pictures, full range",
        "50 calibration pictures, full range",
        "ranges clipped by percentile",
        "ranges of least squared error",
        "conv1 in float32",
    ]
    assert [name.count(" and ") for name in names[5:]] == [1, 3]
    assert all(name.startswith("conv1 and ") for name in names[5:])


def test_the_ladder_is_climbed_no_higher_than_asked(float32, names, monkeypatch):
    done = []

    def watch(name):
        real = getattr(repair, name)
        monkeypatch.setattr(repair, name, lambda *given: done.append(name) or real(*given))

    for name in ("Calibrator", "quantize_to_int8", "rank_layers"):
        watch(name)

    def draw(more: int) -> np.ndarray:
        done.append(f"draw {more}")
        return draw_more(more)

    ladder = climb(float32, IMAGES[:10], draw, names, "int8")
    steps = []
    for _ in ladder:
        steps.append(tuple(done))
        done.clear()
    assert steps[:3] == [
        ("Calibrator", "quantize_to_int8"),
        ("draw 40", "Calibrator", "quantize_to_int8"),
        ("quantize_to_int8",),
    ]
    assert steps[3:] == [
        ("quantize_to_int8",),
        ("rank_layers", "quantize_to_int8"),
        ("quantize_to_int8",),
        ("quantize_to_int8",),
    ]


def test_each_rung_of_integers_quantises_by_its_own_pictures_and_ranges(rungs, float32):
    few, many = Calibrator(float32, IMAGES[:10]), Calibrator(float32, IMAGES[:50])
    expected = [
        few.full,
        many.full,
        many.clipped(clip_by_percentile),
        many.clipped(clip_by_squared_error),
    ]
    contents = [quantize_to_int8(float32, ranges) for ranges in expected]
    assert [rung.content for rung in rungs[:4]] == contents
    assert len(set(contents)) == 4
    for rung in rungs[:4]:
        assert rung.kept_float == ()
        verify_integer_only(read_graph(rung.content))


def test_neither_the_worst_layer_nor_what_reads_it_is_ever_quantised(rungs, float32, names):
    worst = output_of(read_graph(float32, names), "conv1")
    for rung in rungs[4:]:
        graph = read_graph(rung.content, names)
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
    assert output_of(read_graph(rungs[4].content, names), "add").dtype == "int8"


def test_what_the_layer_before_lost_comes_back(rungs, float32):
    exact = LiteRTModel(float32).predict(IMAGES[:50])
    errors = []
    for rung in rungs:
        off = LiteRTModel(rung.content).predict(IMAGES[:50]) - exact
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
    asked = []

    def quantize(float32, ranges, input_type, keep_float=()):
        asked.append(keep_float)
        return b""

    monkeypatch.setattr(repair, "rank_layers", lambda *given: planted)
    monkeypatch.setattr(repair, "quantize_to_int8", quantize)
    last = list(climb(float32, IMAGES[:4], draw_more, names, "int8"))[-1]
    assert set(last.kept_float) == kept
    assert len(last.kept_float) == len(kept)
    layer_of = {op.output.name: op.layer for op in graph.operations if op.name != "RESHAPE"}
    assert {layer_of[tensor] for tensor in asked[-1] if tensor in layer_of} == kept


def test_uint8_is_passed_on_to_every_rung(float32, names, monkeypatch):
    asked = []
    monkeypatch.setattr(
        repair, "quantize_to_int8", lambda float32, ranges, kind, *_: asked.append(kind) or b""
    )
    list(climb(float32, IMAGES[:4], draw_more, names, "uint8"))
    assert asked == ["uint8"] * 7


# The judge.


def test_each_test_picture_is_judged_once_and_beside_its_own_label(
    network, judge, float32, rungs, split
):
    files = {"float32": float32, "int8": rungs[0].content}
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
    monkeypatch.setattr(int8, "measure_file", lambda *given: SimpleNamespace(p50_ms=0.25))
    drawn = []

    def load(run, more):
        drawn.append((run, more))
        return SimpleNamespace(images=draw_more(more))

    monkeypatch.setattr(int8, "load_calibration", load)
    return drawn


def try_all(float32, names, court, input_type="int8"):
    return try_rungs(
        float32,
        "the run",
        IMAGES[:10],
        court,
        layers=names,
        input_type=input_type,
        max_drop=25.0,
    )


def test_what_is_judged_is_what_is_shipped(float32, names, quick):
    court = Court([0, 1, 0, 0], [0, 1, 2, 0])
    tried = try_all(float32, names, court)
    first = next(tried)
    assert (quick, len(court.heard)) == ([], 1)
    second = next(tried)
    assert quick == [("the run", 40)]
    assert court.heard == [{"int8": first.content}, {"int8": second.content}]
    assert align_weights(first.content) == first.content  # Nothing was left to be moved.
    assert [each.name[:2] for each in (first, second)] == ["10", "50"]
    assert [each.comparison.drop for each in (first, second)] == [50.0, 25.0]
    assert [each.passes for each in (first, second)] == [False, True]
    assert (second.latency_ms, second.kept_float) == (0.25, ())


def test_uint8_reaches_the_file(float32, names, quick):
    first = next(try_all(float32, names, Court([0, 1, 2, 3]), input_type="uint8"))
    graph = read_graph(first.content)
    assert (graph.input.dtype, graph.output.dtype) == ("uint8", "uint8")


@pytest.mark.parametrize("kept", [(), ("conv1", "conv2")])
def test_a_layer_that_computes_in_float_unasked_is_refused(
    float32, names, rungs, quick, monkeypatch, kept
):
    rung = Rung("planted", rungs[4].content, kept)
    monkeypatch.setattr(int8, "climb", lambda *given: iter([rung]))
    with pytest.raises(ExportFailed, match="must compute in integers; "):
        next(try_all(float32, names, Court([0, 1, 2, 3])))


def test_a_layer_that_was_left_in_float_on_purpose_is_not(
    float32, names, rungs, quick, monkeypatch
):
    monkeypatch.setattr(int8, "climb", lambda *given: iter([rungs[4]]))
    (tried,) = try_all(float32, names, Court([0, 1, 2, 3]))
    assert tried.kept_float == rungs[4].kept_float
    assert tried.passes


# The two halves.


def test_halves_are_disjoint_and_cover_all(float32, names, monkeypatch):
    seen = []
    monkeypatch.setattr(
        int8, "Calibrator", lambda file, half: seen.append(half) or Calibrator(file, half)
    )
    halves = compare_halves(float32, IMAGES[:11], Court([0] * 4, [0] * 4), names)
    assert halves.pictures == (6, 5)
    rows = [[int(np.argmax((image == IMAGES).all(axis=(1, 2, 3)))) for image in h] for h in seen]
    assert [len(half) for half in rows] == [6, 5]
    assert sorted(rows[0] + rows[1]) == list(range(11))


def test_halves_answers_and_scales_worked_by_hand(float32, names):
    court = Court([0, 1, 2, 0], [0, 1, 1, 1])
    images = IMAGES[:12]
    halves = compare_halves(float32, images, court, names)
    one, two = (Calibrator(float32, half).full for half in (images[:6], images[6:]))
    widths = np.array([[each[name].high - each[name].low for name in one] for each in (one, two)])
    changes = np.abs(widths[0] - widths[1]) / widths.mean(axis=0)
    assert halves.agreement == 2 / 4
    assert halves.accuracies == (3 / 4, 2 / 4)
    assert halves.median_scale_change == pytest.approx(np.median(changes))
    assert halves.largest_scale_change == pytest.approx(changes.max())
    largest = list(one)[int(changes.argmax())]
    operations = read_graph(float32, names).operations
    writers = [op.layer for op in operations if op.output.name == largest]
    assert [halves.largest_layer] == writers != [operations[0].layer]
    assert court.heard[0]["half 1"] == quantize_to_int8(float32, one)
    assert court.heard[0]["half 2"] == quantize_to_int8(float32, two)
