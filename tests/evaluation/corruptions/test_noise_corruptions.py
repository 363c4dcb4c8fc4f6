"""Noise against the moments of the distributions it is defined by."""

import numpy as np
import pytest
from scipy import stats

from evaluation.corruptions.corrupt import corrupt
from evaluation.corruptions.noise import gaussian_noise, impulse_noise, shot_noise

VALUES = 4 * 64 * 64 * 3


@pytest.mark.parametrize(("severity", "deviation"), list(enumerate([0.04, 0.06, 0.08, 0.09, 0.10], start=1)))
def test_gaussian_noise_has_the_published_deviation(severity, deviation):
    grey = np.full((4, 64, 64, 3), 128, np.uint8)
    noise = (corrupt(grey, "gaussian_noise", severity, seed=1) - 128.0) / 255
    # Rounding adds a level's variance / 12, below 0.1 %; the standard error is 1 / sqrt(2 n).
    assert noise.std() == pytest.approx(deviation, rel=5 / np.sqrt(2 * VALUES) + 0.001)
    assert abs(noise.mean()) < 5 * deviation / np.sqrt(VALUES)


def test_gaussian_noise_is_added_and_normal():
    image = np.linspace(0, 1, 3072).reshape(32, 32, 3)
    noise = gaussian_noise(image, np.random.default_rng(1), 0.1) - image
    assert stats.kstest(noise.ravel() / 0.1, "norm").pvalue > 1e-3


@pytest.mark.parametrize("photons", [500, 250, 100, 75, 50])
@pytest.mark.parametrize("brightness", [0.2, 0.8])
def test_shot_noise_counts_photons(photons, brightness):
    image = np.full((128, 128, 3), brightness)
    noisy = shot_noise(image, np.random.default_rng(1), photons)
    counts = noisy * photons
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-9)
    variance = brightness / photons
    # A mean's and a variance's standard errors, times 5; a Poisson's excess kurtosis is below 0.1.
    assert noisy.mean() == pytest.approx(brightness, abs=5 * np.sqrt(variance / noisy.size))
    assert noisy.var() == pytest.approx(variance, rel=5 * np.sqrt(2.1 / noisy.size))


@pytest.mark.parametrize(("severity", "share"), list(enumerate([0.01, 0.02, 0.03, 0.05, 0.07], start=1)))
def test_impulses_have_the_published_share_and_balance(severity, share):
    grey = np.full((4, 64, 64, 3), 128, np.uint8)
    noisy = corrupt(grey, "impulse_noise", severity, seed=1)
    pepper, salt = np.mean(noisy == 0), np.mean(noisy == 255)
    # Binomial: 5 standard errors of half the share.
    tolerance = 5 * np.sqrt(share / 2 / VALUES)
    assert pepper == pytest.approx(share / 2, abs=tolerance)
    assert salt == pytest.approx(share / 2, abs=tolerance)
    assert np.isin(noisy, [0, 128, 255]).all()


def test_impulses_hit_each_channel_on_its_own():
    image = np.full((128, 128, 3), 0.5)
    hit = impulse_noise(image, np.random.default_rng(1), 0.2) != 0.5
    # 16384 pixels: the share of those hit in red and green, 0.04, has a standard error of 0.0015.
    assert np.mean(hit[..., 0] & hit[..., 1]) == pytest.approx(0.2**2, abs=0.0077)
