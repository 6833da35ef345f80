"""The paper's rules for where attention goes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionscope.building.placement import Placement
from visionscope.errors import ConfigError


@given(st.integers(1, 12), st.integers(0, 3), st.integers(0, 6))
def test_a_stage_ends_with_pairs_of_convolution_and_attention(blocks: int, added: int, msa: int) -> None:
    placement = Placement(msa=(msa,), extend=(added,))
    total = blocks + added
    if 2 * msa > total:
        with pytest.raises(ConfigError, match=rf"m = {msa} with n = {total}\. The largest is {total // 2}"):
            placement.orders([blocks])
        return
    (order,) = placement.orders([blocks])
    # Counted from the end, every second block is attention until they are used up.
    expected = ["msa" if place % 2 == 0 and place < 2 * msa else "conv" for place in range(total)]
    assert list(reversed(order)) == expected


def test_the_papers_networks() -> None:
    assert Placement(msa=(0, 1, 1, 2), extend=(0, 0, 0, 1)).orders([3, 4, 6, 3]) == (
        ("conv",) * 3,
        ("conv",) * 3 + ("msa",),
        ("conv",) * 5 + ("msa",),
        ("conv", "msa", "conv", "msa"),
    )
    placement = Placement(msa=(0, 1, 1, 2))
    assert placement.heads() == (3, 6, 12, 24)
    assert placement.head_dim_for(2048) == 64
    assert [placement.window_size_for((edge, edge)) for edge in (4, 7)] == [4, 7]


@pytest.mark.parametrize("channels", [16, 64, 320, 768, 888, 2048, 4096])
@pytest.mark.parametrize("stages", [3, 4, 5])
def test_hidden_channels_grow_with_the_stage_and_stay_sensible(channels: int, stages: int) -> None:
    placement = Placement(msa=(0,) * stages)
    head_dim = placement.head_dim_for(channels)
    assert head_dim % 8 == 0
    assert 16 <= head_dim <= 64
    hidden = [heads * head_dim for heads in placement.heads()]
    assert hidden == sorted(set(hidden))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"msa": ()}, r"msa: must be whole numbers, one per stage, such as 0,1,1,1; got \[\]"),
        ({"msa": (0, -1)}, "msa: each must be an integer from 0 to 1000; got -1"),
        ({"msa": (0, 1), "extend": (1,)}, "extend: must have as many numbers as msa, one per stage; got 1 for msa 0,1"),
        ({"msa": (0, 1), "num_heads": (1, 2, 3)}, "num_heads: must have as many numbers as msa"),
        ({"msa": (0, 1), "num_heads": (6, 6)}, "num_heads: must grow from stage to stage.*The paper's rule gives 3,6"),
        ({"msa": (0, 1), "num_heads": (0, 6)}, "num_heads: each must be an integer from 1 to 100000; got 0"),
        ({"msa": (0, 1.5, 1)}, "msa: each must be an integer from 0 to 1000; got 1.5"),
        ({"msa": (0, 1), "extend": (True, 0)}, "extend: each must be an integer from 0 to 1000; got True"),
        ({"msa": (0, 1), "num_heads": (1, 2.5)}, "num_heads: each must be an integer from 1 to 100000; got 2.5"),
        ({"msa": (0, 1), "window_size": 4.0}, "window_size: must be an integer from 1 to 16384; got 4.0"),
        ({"msa": (0, 1), "window_size": 0}, "window_size: must be an integer from 1 to 16384; got 0"),
        ({"msa": (0, 1), "head_dim": -8}, "head_dim: must be an integer from 1 to 100000; got -8"),
    ],
)
def test_what_breaks_a_rule_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Placement(**arguments)


def test_stages_are_counted() -> None:
    with pytest.raises(ConfigError, match=r"one number per stage; got 2 \(1,1\) for 4 stages .* choice is 0,0,1,1"):
        Placement(msa=(1, 1)).orders([3, 4, 6, 3])
    with pytest.raises(ConfigError, match=r"msa of stage 2 .* got m = 3 with n = 4\. The largest is 2"):
        Placement(msa=(0, 3, 1, 1)).orders([3, 4, 6, 3])
