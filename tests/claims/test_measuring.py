import numpy as np
import pytest
from scipy.stats import spearmanr

from visionscope.claims.measuring import early_less_late, log, rank_correlation
from visionscope.claims.one_seed import MissingError


@pytest.mark.parametrize("seed", range(10))
def test_rank_correlation_is_spearmans_with_ties_too(seed):
    first, second = np.random.default_rng(seed).integers(0, 5, (2, 7)).tolist()
    assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)


def test_rank_correlation_with_what_does_not_vary_is_0():
    assert rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) == 0
    assert rank_correlation([1.0, 2.0, 3.0], [1.0, 1.0, 1.0]) == 0


def test_early_less_late_leaves_the_middle_out():
    assert early_less_late([5.0, 100.0, 1.0]) == 4
    assert early_less_late([5.0, 3.0, 2.0, 0.0]) == 3
    assert early_less_late([5.0]) is None


def test_no_logarithm_of_what_is_not_positive():
    with pytest.raises(MissingError, match="vit: the median eigenvalue is not positive"):
        log(0.0, "vit: the median eigenvalue")
