"""The image of a network: what it says, what it draws, and that nothing lies on anything."""

import itertools
from collections import Counter
from functools import cache
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from pipeline.config.architectures import ARCHITECTURES
from pipeline.config.settings import ModelConfig
from pipeline.inspection.anatomy import dissect
from pipeline.inspection.diagram import draw_network, plot_diagram
from pipeline.models import build_model
from tests.pipeline.untrained import conv_of_zeros

NOTES = ("a note", "a note that is longer than the rows of the smallest network are wide")
LARGE = {"resnet18", "resnet34", "resnet50", "resnet101", "resnet18d", "resnet50d", "resnext50"}


@cache
def parts_of(name, **settings: Any):
    size, classes = (224, 1000) if name in LARGE else (32, 10)
    model = build_model(
        ModelConfig(model=name, **settings),
        input_shape=(size, size, 3),
        classes=classes,
        pixel_mean=(0.0, 0.0, 0.0),
        pixel_std=(1.0, 1.0, 1.0),
        seed=0,
        convolution_layer=conv_of_zeros,
    )
    return dissect(model)


def draw(name, **settings: Any):
    return draw_network(parts_of(name, **settings), name, NOTES)


def texts(figure):
    """How often each text stands there, with x for the sign of multiplication."""
    (axes,) = figure.axes
    return Counter(text.get_text().replace("\N{MULTIPLICATION SIGN}", "x") for text in axes.texts)


def arcs(figure):
    """Kind, x of the left end and style of the line of each shortcut."""
    (axes,) = figure.axes
    return [
        (patch.get_gid().removeprefix("shortcut: "), patch.get_path().vertices[0, 0], patch.get_linestyle())
        for patch in axes.patches
        if patch.get_gid()
    ]


def test_resnet18_says_what_the_paper_says():
    # Shapes of He et al. 2015, table 1; parameters by hand, as in test_anatomy.py.
    assert texts(draw("resnet18")) == Counter(
        {
            "resnet18": 1,
            NOTES[0]: 1,
            NOTES[1]: 1,
            "input": 1,
            "output 224 x 224 x 3; 0 parameters": 1,
            "RGB pixels\n0 to 255": 1,
            "normalisation": 1,
            "stem": 1,
            "output 56 x 56 x 64; 9,536 parameters": 1,
            "7x7 conv, 64\nstride 2\nnorm, ReLU": 1,
            "3x3 max-pool\nstride 2": 1,
            "stage1, 2 blocks": 1,
            "output 56 x 56 x 64; 147,968 parameters": 1,
            "3x3 conv, 64\nnorm, ReLU": 1,
            "3x3 conv, 64\nnorm": 1,
            "x 2": 1,
            "stage2, 2 blocks": 1,
            "output 28 x 28 x 128; 525,568 parameters": 1,
            "3x3 conv, 128\nstride 2\nnorm, ReLU": 1,
            "3x3 conv, 128\nnorm, ReLU": 1,
            "3x3 conv, 128\nnorm": 2,
            "stage3, 2 blocks": 1,
            "output 14 x 14 x 256; 2,099,712 parameters": 1,
            "3x3 conv, 256\nstride 2\nnorm, ReLU": 1,
            "3x3 conv, 256\nnorm, ReLU": 1,
            "3x3 conv, 256\nnorm": 2,
            "stage4, 2 blocks": 1,
            "output 7 x 7 x 512; 8,393,728 parameters": 1,
            "3x3 conv, 512\nstride 2\nnorm, ReLU": 1,
            "3x3 conv, 512\nnorm, ReLU": 1,
            "3x3 conv, 512\nnorm": 2,
            # A ReLU behind each of the 7 sums; of 4 identities one is drawn for both of stage 1.
            "identity": 4,
            "projection": 3,
            "ReLU": 7,
            "pool": 1,
            "output 512; 0 parameters": 1,
            "global\naverage-pool": 1,
            "head": 1,
            "output 1,000; 513,000 parameters": 1,
            "dense, 1,000": 1,
        }
    )


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        # Xie et al. 2017, table 1: 128 to 1,024 channels in 32 groups, 3, 4, 6 and 3 blocks.
        (
            "resnext50",
            {},
            {
                "3x3 conv, 128\n32 groups\nnorm, ReLU": 2,
                "3x3 conv, 1,024\n32 groups\nstride 2\nnorm, ReLU": 1,
                "1x1 conv, 2,048\nnorm": 2,
                "x 2": 2,
                "x 3": 1,
                "x 5": 1,
                "output 7 x 7 x 2,048; 14,544,896 parameters": 1,
            },
        ),
        (
            "resnet18d",
            {},
            {
                "3x3 conv, 32\nstride 2\nnorm, ReLU": 1,
                "3x3 conv, 32\nnorm, ReLU": 1,
                "3x3 max-pool\nstride 2": 1,
                "average-pool + projection": 3,
            },
        ),
        ("resnet32", {}, {"x 5": 1, "x 4": 2, "zero padding": 2, "identity": 3}),
        (
            "wrn_10_2",
            {"dropout": 0.3},
            {
                "3x3 conv, 16": 1,
                "norm, ReLU\ndropout 0.3\n3x3 conv, 32": 1,
                "projection": 3,
                # Shared with the shortcut, once in each of three blocks, and the final one.
                "norm, ReLU": 4,
                "3x3 conv, 64\nstride 2": 1,
                "ReLU": 0,
                "identity": 0,
            },
        ),
        (
            "efficientnet_lite0",
            {},
            {
                "3x3 conv, 32\nstride 2\nnorm, ReLU6": 1,
                "3x3 depthwise\nnorm, ReLU6": 4,  # stages 1, 2, 4 and 7
                "3x3 depthwise\nstride 2\nnorm, ReLU6": 2,
                "5x5 depthwise\nstride 2\nnorm, ReLU6": 2,
                "1x1 conv, 320\nnorm": 1,
                "1x1 conv, 1,280\nnorm, ReLU6": 1,
                "identity": 5,
            },
        ),
        ("vgg16", {}, {"3x3 conv, 512\nReLU": 6, "2x2 max-pool\nstride 2": 5, "global\naverage-pool": 1}),
        (
            "densenet121",
            {},
            {
                "norm, ReLU\n1x1 conv, 128": 5,  # in a block of each stage, and from 256 channels to half
                "norm, ReLU\n3x3 conv, 32": 4,
                **{f"x {blocks}": 1 for blocks in (6, 12, 24, 16)},
                "norm, ReLU\n1x1 conv, 256": 1,
                "2x2 average-pool\nstride 2": 3,
                "concatenation": 4,
                # Huang et al. 2016, table 1, for 32 in place of 224 pixels.
                "stage2, 12 blocks": 1,
                # A transition, and 12 blocks that see 128, 160, ..., 480 channels.
                f"output 4 x 4 x 512; {256 * (2 + 128) + 12 * (304 * (2 + 128) + 256 + 9 * 128 * 32):,} "
                "parameters": 1,
            },
        ),
        (
            "mlp",
            {"dropout": 0.1},
            {
                "flatten": 2,
                "dense, 512\nReLU": 2,
                "dropout 0.1": 1,
                "dense, 10": 1,
                # 32 * 32 * 3 inputs.
                f"output 512; {3072 * 512 + 512:,} parameters": 1,
            },
        ),
        (
            "convnet",
            {},
            {
                "5x5 conv, 32\nReLU": 1,
                "2x2 max-pool\nstride 2": 2,
                "dense, 512\nReLU": 1,
                f"output 8 x 8 x 64; {25 * 32 * 64 + 64:,} parameters": 1,
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_special_is_said(name, settings, expected):
    found = texts(draw(name, **settings))
    assert {text: found[text] for text in expected} == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet20", ["identity"] * 3 + ["zero padding"] * 2),
        ("preresnet18", ["identity"] * 4 + ["projection"] * 3),
        ("plain18", []),
        ("convnet", []),
    ],
)
def test_each_shortcut_is_an_arc_and_only_those_are(name, expected):
    drawn = arcs(draw(name))
    assert sorted(kind for kind, _, _ in drawn) == expected
    solid = {kind for kind, _, style in drawn if style in ("-", "solid")}
    assert solid == {kind for kind in expected if kind == "identity"}


def test_a_shortcut_that_shares_the_norm_leaves_behind_it():
    figure = draw("preresnet18")
    (axes,) = figure.axes
    norm = min(text.get_position()[0] for text in axes.texts if text.get_text() == "norm, ReLU")
    starts = [(kind, start > norm) for kind, start, _ in arcs(figure)]
    # The block with a projection is its stage's first; the other one lies to the right of it.
    assert starts == [("identity", False), *[("projection", True), ("identity", True)] * 3]


OTHER_DEPTHS = {"resnet14", "resnet32", "resnet44", "resnet56", "resnet101"}
"""Networks of fewer or more blocks, which are a number in the drawing."""


@pytest.mark.parametrize("name", sorted(ARCHITECTURES.keys() - OTHER_DEPTHS))
def test_nothing_lies_on_anything(name):
    figure = draw(name)
    figure.set_dpi(120)
    renderer = FigureCanvasAgg(figure).get_renderer()
    (axes,) = figure.axes
    words = {text: text.get_window_extent(renderer) for text in axes.texts}
    boxes = [p.get_window_extent(renderer) for p in axes.patches if isinstance(p, FancyBboxPatch)]
    for (one, here), (other, there) in itertools.combinations(words.items(), 2):
        assert not here.overlaps(there), (one.get_text(), other.get_text())
    for text, extent in words.items():
        assert figure.bbox.contains(extent.x0, extent.y0), text.get_text()
        assert figure.bbox.contains(extent.x1, extent.y1), text.get_text()
        for box in boxes:
            # A text is either inside a box or frame, or outside, never on its edge.
            inside = box.contains(extent.x0, extent.y0) and box.contains(extent.x1, extent.y1)
            assert inside or not box.overlaps(extent), text.get_text()


def test_an_inch_of_the_drawing_is_an_inch_of_the_image():
    figure = draw("resnet8")
    (axes,) = figure.axes
    assert (axes.get_xlim(), axes.get_ylim()[::-1]) == tuple(
        (0, inches) for inches in figure.get_size_inches()
    )


def test_the_file_is_a_whole_png(tmp_path):
    path = tmp_path / "image.png"
    parts = parts_of("resnet8")
    plot_diagram(parts, "resnet8", NOTES, path)
    inches = draw_network(parts, "resnet8", NOTES).get_size_inches()
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        # 120 dots an inch, whole ones.
        assert image.size == pytest.approx(120 * inches, abs=1)
        assert len(set(image.convert("L").get_flattened_data())) > 20  # not a blank page
    assert list(tmp_path.iterdir()) == [path]
