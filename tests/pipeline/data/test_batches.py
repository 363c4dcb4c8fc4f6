"""Batch `s` is a pure function of (seed, s), whatever the source, the start and the replicas."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipeline.config.settings import AugmentConfig
from pipeline.data.batches import Examples, Order, Share, build_evaluation_batches, build_training_batches
from pipeline.data.table import ArrayImages, EncodedImages, Source
from pipeline.training.devices import build_strategy

IMAGES, CLASSES, SIZE, BATCH = 50, 3, 8, 16
STEPS_PER_EPOCH = IMAGES // BATCH

EVERYTHING = AugmentConfig(
    crop_padding=2,
    resized_crop_area=0.5,
    flip="alternating",
    rotation=10.0,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    hue=0.1,
    policy="trivialaugment",
    cutout=2,
    erasing=0.5,
    mixup=0.4,
    cutmix=1.0,
)


def pixels(row: int) -> np.ndarray:
    """An image that tells its row by its red, and its places by green and blue."""
    places = np.arange(SIZE, dtype=np.uint8)
    image = np.full((SIZE, SIZE, 3), row, np.uint8)
    image[..., 1], image[..., 2] = places[:, None], places[None, :]
    return image


def source(*, encoded: bool = False, reads: list[int] | None = None) -> Source:
    images = np.stack([pixels(row) for row in range(IMAGES)])
    stored = ArrayImages(images)
    if encoded:
        files = tf.constant([tf.io.encode_png(image).numpy() for image in images])

        def read(row: tf.Tensor) -> tf.Tensor:
            if reads is not None:
                tf.numpy_function(lambda row: reads.append(int(row)), [row], [])
            return tf.gather(files, row)

        stored = EncodedImages(read)
    rows = np.arange(IMAGES)
    return Source(
        name="test",
        class_names=tuple("abc"),
        labels=rows % CLASSES,
        digests=rows[:, None].astype(np.uint8),
        images=stored,
        provided={"train": rows},
    )


def examples(image_size: int = SIZE, **kind: Any) -> Examples:
    # Not all rows and not in order of their numbers: rows and positions must not be confused.
    return Examples(source(**kind), np.arange(IMAGES)[::-1].copy(), image_size)


def train_batches(first, last, *, augment=EVERYTHING, seed=7, given=None):
    batches = build_training_batches(
        given or examples(), augment, global_batch_size=BATCH, seed=seed, first_step=first, last_step=last
    )
    return list(batches.as_numpy_iterator())


def assert_equal_batches(ours, theirs):
    assert len(ours) == len(theirs)
    for (images, labels), (other_images, other_labels) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


@pytest.mark.parametrize("encoded", [False, True])
def test_a_run_may_start_at_any_step_and_sees_the_same(encoded):
    given = examples(encoded=encoded)
    # In the middle of the second of three epochs.
    assert_equal_batches(train_batches(5, 8, given=given), train_batches(0, 8, given=given)[5:])


def together(shares: list[list[tuple]]) -> list[tuple]:
    """Put what each host has of each batch, a replica at a time, together."""
    own = len(shares[0]) // 3
    return [
        tuple(
            np.concatenate(parts) for parts in zip(*(e for s in shares for e in s[k : k + own]), strict=True)
        )
        for k in range(0, 3 * own, own)
    ]


@pytest.mark.parametrize(("encoded", "hosts", "replicas"), [(False, 2, 4), (True, 4, 4)])
def test_hosts_see_together_what_one_sees_and_read_no_more(encoded, hosts, replicas):
    reads: list[list[int]] = [[] for _ in range(hosts)]
    settings = {"global_batch_size": BATCH, "seed": 7, "first_step": 2, "last_step": 5}
    shares = [
        [
            *build_training_batches(
                examples(encoded=encoded, reads=reads[host]),
                EVERYTHING,
                share=Share(host, hosts, replicas),
                **settings,
            ).as_numpy_iterator()
        ]
        for host in range(hosts)
    ]
    assert {len(images) for share in shares for images, _ in share} == {BATCH // replicas}
    assert_equal_batches(together(shares), train_batches(2, 5, given=examples(encoded=encoded)))
    # Each its own, and the one before, with which the first of them is mixed.
    assert {len(of) for of in reads} == ({3 * (BATCH // hosts + 1)} if encoded else {0})


def test_hosts_evaluate_each_image_once():
    for hosts, replicas in ((2, 4), (3, 3)):
        settings = {"global_batch_size": 12, "replicas": replicas}
        shares = [
            [*build_evaluation_batches(examples(), share=Share(host, hosts, replicas), **settings)]
            for host in range(hosts)
        ]
        assert len({len(share) for share in shares}) == 1
        whole = [*build_evaluation_batches(examples(), **settings)]
        own = replicas // hosts
        for number, batch in enumerate(whole):
            pieces = [e for share in shares for e in share[number * own : (number + 1) * own]]
            for ours, parts in zip(batch, zip(*pieces, strict=True), strict=True):
                np.testing.assert_array_equal(np.concatenate(parts), ours)


def test_another_seed_or_step_gives_other_batches():
    nothing = AugmentConfig()
    (first, second), (other,) = (
        train_batches(0, 2, augment=nothing),
        train_batches(0, 1, augment=nothing, seed=8),
    )
    assert not np.array_equal(first[0], second[0])
    assert not np.array_equal(first[0], other[0])


def test_a_late_start_reads_no_more_than_an_early_one():
    reads = {}
    for first in (0, 1_000_000):
        reads[first] = []
        batches = build_training_batches(
            examples(encoded=True, reads=reads[first]),
            AugmentConfig(),
            global_batch_size=BATCH,
            seed=0,
            first_step=first,
            last_step=first + 2,
        )
        assert len(list(batches)) == 2
    assert len(reads[0]) == len(reads[1_000_000]) == 2 * BATCH


def test_an_epoch_visits_no_example_twice_and_every_epoch_has_its_own_order():
    order = Order(np.arange(100, 100 + IMAGES), BATCH, seed=3)
    epochs = []
    for epoch in range(3):
        steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
        epochs.append(np.concatenate([order.keys(tf.constant(s, tf.int64)).examples for s in steps]))
    for visited in epochs:
        assert len(set(visited.tolist())) == STEPS_PER_EPOCH * BATCH
        assert set(visited.tolist()) <= set(range(100, 100 + IMAGES))
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[1], epochs[2])


def test_over_epochs_every_example_comes_equally_often():
    # Each epoch leaves out 2 of 50 examples; over 300 epochs each is left out 12 times in the
    # mean, with a standard deviation of sqrt(300 * 0.04 * 0.96) = 3.4: 6 of them either way.
    order = Order(np.arange(IMAGES), BATCH, seed=0)
    keys = [order.keys(tf.constant(s, tf.int64)).examples for s in range(300 * STEPS_PER_EPOCH)]
    left_out = 300 - np.bincount(np.concatenate(keys), minlength=IMAGES)
    assert left_out.mean() == 300 * 2 / 50
    assert left_out.max() < 12 + 6 * 3.4


@pytest.mark.parametrize("encoded", [False, True])
def test_labels_belong_to_their_images(encoded):
    for images, labels in train_batches(0, 4, augment=AugmentConfig(), given=examples(encoded=encoded)):
        rows = images[:, 0, 0, 0]
        np.testing.assert_array_equal(labels, np.eye(CLASSES)[rows % CLASSES])
        np.testing.assert_array_equal(images, np.stack([pixels(row) for row in rows]))


def test_files_and_arrays_give_the_same_batches():
    # All but the resized crop, which a file takes from its full resolution.
    augment = AugmentConfig(crop_padding=2, flip="horizontal", cutout=3, mixup=0.2)
    assert_equal_batches(
        train_batches(3, 6, augment=augment, given=examples(encoded=True)),
        train_batches(3, 6, augment=augment),
    )


def test_each_file_has_its_own_resized_crop_before_its_resize():
    # Green tells the row of the image: a crop's range of it tells where the crop was.
    augment = AugmentConfig(resized_crop_area=0.1)
    ((images, _),) = train_batches(0, 1, augment=augment, given=examples(encoded=True))
    ranges = {(int(green.min()), int(green.max())) for green in images[..., 1]}
    assert len(ranges) > 4


def test_replicas_share_the_global_batch():
    strategy = build_strategy("cpu:2")
    mixed = AugmentConfig(mixup=0.4)
    dataset = build_training_batches(
        examples(), mixed, global_batch_size=BATCH, seed=7, first_step=0, last_step=2
    )
    whole = train_batches(0, 2, augment=mixed)
    for shared, (images, labels) in zip(
        strategy.experimental_distribute_dataset(dataset), whole, strict=True
    ):
        parts = [strategy.experimental_local_results(part) for part in shared]
        assert [len(part) for part in parts[0]] == [BATCH // 2, BATCH // 2]
        np.testing.assert_array_equal(np.concatenate(parts[0]), images)
        np.testing.assert_array_equal(np.concatenate(parts[1]), labels)


@pytest.mark.parametrize("replicas", [1, 3, 4])
@pytest.mark.parametrize("encoded", [False, True])
def test_evaluation_counts_each_image_once(encoded, replicas):
    batches = build_evaluation_batches(examples(encoded=encoded), global_batch_size=12, replicas=replicas)
    for _ in range(2):  # the second pass comes from the cache
        images, labels, weights = (np.concatenate(part) for part in zip(*batches, strict=True))
        real = weights == 1
        assert set(weights.tolist()) <= {0.0, 1.0}
        np.testing.assert_array_equal(images[real][:, 0, 0, 0], np.arange(IMAGES)[::-1])
        np.testing.assert_array_equal(labels, np.eye(CLASSES)[images[:, 0, 0, 0] % CLASSES])
        assert len(weights) % replicas == 0
        assert (~real).sum() < replicas


def test_arrays_are_resized_to_the_model_as_files_are():
    arrays, files = (
        next(iter(build_evaluation_batches(examples(5, encoded=e), global_batch_size=4)))[0]
        for e in (False, True)
    )
    assert arrays.shape == (4, 5, 5, 3)
    np.testing.assert_array_equal(arrays, files)
