"""The report's page: figures as they were measured, names escaped, nothing fetched."""

import base64
import io
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from evaluation.page.page import embed, largest_layers, worst_rows, write_page
from tests.evaluation.page.html_page import Page
from tests.evaluation.report_sample import AWKWARD_NAMES, class_names, make_report

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")

VARIANTS = {
    "ten": {"prepared": True},
    "least": {"classes": 2, "int8": False, "corrupted": False, "flip": False, "explained": False},
    "hundred": {"classes": 100, "int8": False, "side": 32},
    "thousand": {"classes": 1000, "side": 224, "empty_class": True},
    "no mistake": {"mistaken": False, "empty_class": True, "corrupted": False, "prepared": True},
}


@pytest.fixture(scope="module")
def pages() -> dict[str, Page]:
    return {name: Page(write_page(*make_report(**kind))) for name, kind in VARIANTS.items()}


@pytest.fixture(params=VARIANTS)
def page(pages, request) -> Page:
    return pages[request.param]


def percent(estimate: dict) -> str:
    low, high = estimate["interval_95"]
    return f"{100 * estimate['value']:.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def test_nothing_is_shown_that_is_not_there(page):
    shown = [element.text for element in page.all("body")]
    shown += [value for element in page.elements for value in element.attributes.values() if value]
    for text in shown:
        if not text.startswith("data:"):
            assert not re.search(r"\b(nan|None|inf|Undefined|null)\b", text)


def test_names_beside_an_arrow_are_isolated(page):
    # Else two names in Arabic or Hebrew would change places, and the arrow would point at the label.
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page.html, re.DOTALL)
    arrows = [caption for caption in captions if "→" in caption]
    assert arrows
    for caption in arrows:
        assert re.search("<b><bdi>[^<]+</bdi></b> → <bdi>[^<]+</bdi>", caption)


def test_nothing_is_fetched_or_run(page):
    assert page.all("script", "iframe", "object") == []
    for element in page.elements:
        for name in ("src", "href", "xlink:href"):
            target = element.attributes.get(name)
            assert target is None or target.startswith(("data:", "#"))
    (style,) = (each.text for each in page.all("style") if "color-scheme" in each.text)
    assert not re.search(r"url\(|@import", style)


def test_ids_are_distinct_and_links_lead_somewhere(page):
    ids = [each.attributes["id"] for each in page.elements if "id" in each.attributes]
    assert len(ids) == len(set(ids))
    links = [each.attributes["href"] for each in page.all("a")]
    assert len(links) > 5
    assert {link[1:] for link in links} <= set(ids)


def test_headings_images_and_tables_say_what_they_are(page):
    levels = [int(each.tag[1]) for each in page.all(*HEADINGS)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(each.attributes["alt"] for each in page.all("img"))
    assert all(each.attributes["scope"] for each in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(each.text for each in page.all(*HEADINGS, "caption", "figcaption"))


@pytest.mark.parametrize(
    ("variant", "missing"),
    [
        ("ten", set()),
        ("hundred", {"quantised"}),
        ("least", {"quantised", "robustness", "explanation"}),
        ("no mistake", set()),
    ],
)
def test_what_was_not_measured_has_no_section(pages, variant, missing):
    sections = [each.attributes["id"] for each in pages[variant].all("section")]
    everything = [
        "accuracy",
        "mistakes",
        "calibration",
        "robustness",
        "explanation",
        "quantised",
        "cost",
        "data",
        "method",
    ]
    assert sections == [name for name in everything if name not in missing]
    links = [each.attributes["href"][1:] for each in pages[variant].all("a")]
    assert links[1 : 1 + len(sections)] == sections


def test_the_verdict_comes_first(pages):
    report, _ = make_report(**VARIANTS["ten"])
    keras, quantised = report["networks"]["keras"], report["quantised"]["int8"]
    tiles = [each.text for each in pages["ten"].all("div") if each.attributes.get("class") == "tile"]
    low, high = (f"{100 * end:.2f}" for end in keras["accuracy"]["top1"]["interval_95"])
    top1 = f"{100 * keras['accuracy']['top1']['value']:.2f} %"
    assert tiles[0] == f"Accuracy {top1} 95 % interval {low} to {high}"
    assert tiles[1] == "Calibration error 7.12 % 1.18 % at temperature 1.37"
    assert f"corruption {100 * keras['robustness']['mean']['value']:.2f} % of" in tiles[2]
    assert f"points \u2212{quantised['drop_points']:.2f} 95 %" in tiles[3]
    assert tiles[4] == "Parameters 697,962"
    assert tiles[5].startswith(f"Multiply-adds {report['cost']['multiply_adds'] / 1e6:.1f} M")
    # 731,648 / 1024 = 714.5
    assert tiles[6:] == [
        "Size 714.5 KiB model_int8.tflite",
        "Latency 0.412 ms median for one image, model_int8.tflite",
    ]


def test_every_figure_of_a_class_is_shown_beside_that_of_the_other_network(pages):
    report, _ = make_report(**VARIANTS["ten"])
    rows = {row[0]: row for row in pages["ten"].table("All classes, the lowest recall of keras")[2:]}
    assert set(rows) == set(report["class_names"])
    tables = [network["accuracy"]["per_class"] for network in report["networks"].values()]
    for classes in zip(*tables, strict=True):
        expected = []
        for each in classes:
            expected += [percent(each[key]) for key in ("recall", "precision", "f1")]
            low, high = each["roc_auc"]["interval_95"]
            expected.append(f"{each['roc_auc']['value']:.4f} ({low:.4f} to {high:.4f})")
        assert rows[classes[0]["class"]] == [classes[0]["class"], "1,000", *expected]


def test_of_many_classes_the_worst_are_shown_and_it_is_said(pages):
    report, _ = make_report(**VARIANTS["hundred"])
    table = report["networks"]["keras"]["accuracy"]["per_class"]
    worst = sorted(table, key=lambda each: each["recall"]["value"])[:20]
    rows = pages["hundred"].table("The 20 classes of 100 with the lowest recall")[2:]
    assert [row[0] for row in rows] == [each["class"] for each in worst]
    balance = pages["hundred"].table("The 20 classes of 100 with the fewest training images")[1:]
    fewest = sorted(each["train"] for each in report["data"]["balance"]["classes"])[:20]
    assert [row[1] for row in balance] == [f"{count:,}" for count in fewest]
    assert len(pages["thousand"].table("The 20 classes of 1,000 that lost most")) == 21


def test_confusion_is_a_matrix_of_few_classes_and_pairs_of_many(pages):
    report, _ = make_report(**VARIANTS["ten"])
    for name, network in report["networks"].items():
        rows = pages["ten"].table(f"Confusion matrix of {name}")[1:]
        matrix = network["accuracy"]["confusion_matrix"]
        assert [row[1:] for row in rows] == [[f"{n:,}" for n in counts] for counts in matrix]
    for variant in ("hundred", "thousand"):
        report, _ = make_report(**VARIANTS[variant])
        assert not any(e.text.startswith("Confusion") for e in pages[variant].all("caption"))
        pairs = pages[variant].table("The most frequent kinds of mistake")[2:]
        assert [row[:2] + row[2::2] for row in pairs] == [
            [pair["label"], pair["predicted"], *map(str, pair["images"].values())]
            for pair in report["confused_pairs"]
        ]


def test_a_cell_is_as_strong_as_its_share():
    report, images = make_report(**VARIANTS["least"])
    report["networks"]["keras"]["accuracy"]["confusion_matrix"] = [[75, 25], [0, 0]]
    cells = Page(write_page(report, images)).all("td")
    heat = [(e.attributes["class"], e.attributes.get("style")) for e in cells if e.text == "75"]
    assert heat == [("cold", "--strength: 75.0%")]
    # A mistake is as strong as the root of its share.
    mistakes = [e.attributes.get("style") for e in cells if e.text == "25"]
    assert mistakes == ["--strength: 50.0%"]


def test_corruptions_are_shown_at_every_severity(pages):
    report, _ = make_report(**VARIANTS["ten"])
    for name, network in report["networks"].items():
        rows = pages["ten"].table(f"{name}: accuracy in percent by severity")
        corruptions = network["robustness"]["corruptions"]
        for row, (corruption, measured) in zip(rows[1:], corruptions.items(), strict=True):
            expected = [f"{100 * share:.1f}" for share in [*measured["accuracy"], measured["mean"]]]
            assert row == [f"{corruption} {measured['category']}".replace("_", " "), *expected]


def test_calibration_tells_how_to_fold_the_temperature(pages):
    assert "python -m export RUN_DIR --temperature 1.3700" in [e.text for e in pages["ten"].all("code")]
    rows = {row[0]: row[1:] for row in pages["ten"].table("Lower is better")[2:]}
    # 0.5 + 0.0712 and 0.5 + 0.0118 nats, each 0.02 to either side.
    assert rows["log loss (NLL), nats"][:2] == ["0.5712 (0.5512 to 0.5912)", "0.5118 (0.4918 to 0.5318)"]
    assert rows["ECE, equal width"][:2] == ["7.12 % (6.52 to 7.72)", "1.18 % (0.58 to 1.78)"]


def test_names_are_escaped(pages):
    page = pages["ten"]
    assert "<b>bold" not in page.html
    names = {name for name in class_names(10) if "<" in name}
    cells = [each.text for each in page.all("th")]
    assert all(cells.count(name) >= 3 for name in names)
    alts = [each.attributes["alt"] for each in page.all("img")]
    assert any(f"labelled {AWKWARD_NAMES[0]}" in alt for alt in alts)


@pytest.mark.parametrize(("side", "kind"), [(8, "png"), (32, "png"), (96, "png"), (97, "jpeg")])
def test_small_images_are_embedded_exactly(side, kind):
    image = np.random.default_rng(0).integers(0, 256, (side, side - 3, 3), dtype=np.uint8)
    uri, enlarged = embed(image)
    header, _, content = uri.partition(",")
    assert header == f"data:image/{kind};base64"
    assert enlarged == (kind == "png")
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert decoded.shape == image.shape
    if kind == "png":
        np.testing.assert_array_equal(decoded, image)


def test_large_images_are_made_small():
    _, _, content = embed(np.full((400, 200, 3), 128, np.uint8)).uri.partition(",")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert (image.format, image.size) == ("JPEG", (80, 160))


def test_every_image_of_the_report_is_on_the_page(pages):
    _, images = make_report(**VARIANTS["ten"])
    sources = {each.attributes["src"] for each in pages["ten"].all("img")}
    assert sources == {embed(image).uri for image in images.values()}


def test_an_image_in_a_file_is_called_by_it():
    report, images = make_report(**VARIANTS["least"])
    report["mistakes"]["keras"][0]["path"] = "/data/cats/cat_7.png"
    captions = [each.text for each in Page(write_page(report, images)).all("figcaption")]
    assert sum(caption.endswith("cat_7.png") for caption in captions) == 1


def test_classes_without_images_come_last():
    recall = [0.5, None, 0.25, 1.0]
    rows = [{"recall": None if value is None else {"value": value}} for value in recall]
    assert worst_rows(rows) == [2, 0, 3, 1]


def test_the_largest_layers_stay_in_the_networks_order():
    layers = [{"layer": str(k), "multiply_adds": (7 * k) % 31} for k in range(31)]
    largest = largest_layers(layers)
    assert [each["layer"] for each in largest] == [
        str(k)
        for k in range(31)
        if (7 * k) % 31 >= 11  # the 20 largest of 0 to 30
    ]
