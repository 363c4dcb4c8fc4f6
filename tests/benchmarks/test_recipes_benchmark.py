"""The benchmark of the recipe's ingredients: its arithmetic, its variants, and that it runs."""

import json

import pytest

from benchmarks import recipes
from benchmarks.recipes import RECIPE, TAUGHT, VARIANTS, compare, print_results, settings_of, summarise
from pipeline.config.presets import preset


def test_gains_are_taken_seed_by_seed():
    results = compare({RECIPE: [0.5, 0.75], "other": [0.625, 0.625]})
    assert results[RECIPE].gains == [0.0, 0.0]
    assert results["other"].accuracies == [0.625, 0.625]
    assert results["other"].gains == [0.125, -0.125]


def test_mean_and_standard_error():
    # Deviations of -1, 0 and 1 points: a standard deviation of 1, over the root of 3.
    assert summarise([0.89, 0.90, 0.91]) == "90.00 ± 0.58"
    assert summarise([0.875]) == "87.50"


def test_what_gains_most_comes_first(capsys):
    print_results(compare({RECIPE: [0.5], "worse": [0.25], "better": [0.75]}))
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["better", "75.00", "25.00"],
        ["the", "recipe", "50.00"],
        ["worse", "25.00", "-25.00"],
    ]


@pytest.mark.parametrize("name", VARIANTS | TAUGHT)
def test_a_variant_differs_from_the_recipe_in_each_setting(name):
    recipe = preset("cifar10_10min")
    other = recipe.with_values(settings_of(name, recipe))
    assert len(recipe.differences(other)) == len((VARIANTS | TAUGHT)[name])


def test_a_share_of_a_rate_is_one_of_the_recipe_that_is_measured():
    recipe = preset("cifar10_2h")
    rates = [settings_of(f"{share} the kernels' rate", recipe)["muon_rate"] for share in ("half", "twice")]
    assert rates == pytest.approx([recipe.fit.muon_rate / 2, recipe.fit.muon_rate * 2])


def test_the_last_line_tells_all_figures(capsys):
    words = "--preset digits --model resnet8 --width 4 --epochs 1 --seeds 2 --variants".split()
    assert recipes.main([*words, "a teacher", "--teacher", "digits_resnet8"]) == 0
    *printed, last = capsys.readouterr().out.splitlines()
    told = json.loads(last)
    assert told["benchmark"] == "recipes"
    assert told["settings"]["seeds"] == 2
    base, other = told["variants"].values()
    for seed in (0, 1):
        assert other["gains"][seed] == other["accuracies"][seed] - base["accuracies"][seed]
        assert f"a teacher, seed {seed}: {100 * other['accuracies'][seed]:.2f} %" in "".join(printed)
    assert any(other["gains"])


def test_a_variant_that_is_unknown_is_refused(capsys):
    assert recipes.main(["--variants", "moving averag"]) == 2
    assert "did you mean 'moving average'" in capsys.readouterr().err
    assert recipes.main(["--variants", "a teacher"]) == 2
    assert "unknown --variants 'a teacher'" in capsys.readouterr().err
