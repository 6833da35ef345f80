"""CKA rows: against the definition, for one model and between two; what has no value; the figures."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import feature_maps as twin
from reference.observing import feed, make_maps, make_points, stored, table_of
from visionscope.core.table import to_table
from visionscope.diagnostics.similarity.question import BetweenRow, Similarity
from visionscope.errors import ConfigError

POINTS = make_points([(5, 5), (4, 4), (4, 4)], stages=[0, 1, 1])
IMAGES = 70
GROUP = 16
ASKED = Similarity(group=GROUP)


@pytest.fixture(scope="module")
def maps():
    return make_maps(POINTS, IMAGES)


def observe(maps, points=POINTS, group=GROUP, batch=32, positions=None):
    positions = np.arange(len(maps[0])) if positions is None else positions
    return feed(Similarity(group=group).observer(points), points, maps, positions, batch)


def cells(rows):
    return {(row.point_x, row.point_y): row for row in rows}


def flat(maps, images=64):
    return maps[:images].flatten(1).numpy()


def test_all_pairs_equal_the_definition(maps):
    found = cells(observe(maps).rows())
    assert len(found) == 9
    for i, x in enumerate(POINTS):
        for j, y in enumerate(POINTS):
            row = found[x.name, y.name]
            features = flat(maps[i]), flat(maps[j])
            assert row.cka == pytest.approx(twin.minibatch_cka(*features, GROUP), abs=1e-10)
            assert row.standard_error == pytest.approx(twin.jackknife_error(*features, GROUP), abs=1e-9)
            assert (row.groups, row.group, row.dropped) == (4, GROUP, 6)


@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_permuted_images_have_the_same_groups(batch, seed):
    maps = make_maps(POINTS, IMAGES)
    order = np.random.default_rng(seed).permutation(IMAGES)
    whole = cells(observe(maps).rows())["p0", "p2"]
    shuffled = cells(observe(maps, batch=batch, positions=order).rows())["p0", "p2"]
    assert shuffled.cka == pytest.approx(whole.cka, abs=1e-10)
    assert (shuffled.groups, shuffled.dropped) == (4, 6)


def test_float32_stays_within_its_goal(maps):
    low = [own.float() for own in maps]
    for key, row in cells(observe(low).rows()).items():
        assert row.cka == pytest.approx(cells(observe(maps).rows())[key].cka, abs=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_memory_layout_does_not_matter(maps, layout):
    first = observe([own.contiguous(memory_format=layout) for own in maps])
    assert cells(first.rows())["p0", "p1"].cka == pytest.approx(
        twin.minibatch_cka(flat(maps[0]), flat(maps[1]), GROUP), abs=1e-10
    )


def test_a_copy_and_a_rotated_scaled_copy_have_similarity_one(maps):
    points = make_points([(4, 4)] * 3)
    rotation, _ = torch.linalg.qr(torch.from_numpy(np.random.default_rng(1).standard_normal((64, 64))))
    rotated = (3 * maps[1].flatten(1) @ rotation).unflatten(1, (4, 4, 4)) + 2
    found = cells(observe([maps[1], maps[1], rotated], points).rows())
    assert found["p0", "p1"].cka == pytest.approx(1, abs=1e-12)
    assert found["p0", "p2"].cka == pytest.approx(1, abs=1e-12)
    assert found["p0", "p0"].standard_error == pytest.approx(0, abs=1e-9)


def test_a_point_that_does_not_vary_has_no_value_and_leaves_the_others_alone(maps):
    found = cells(observe([maps[0], torch.full_like(maps[1], 0.3), maps[2]]).rows())
    for (x, y), row in found.items():
        assert (row.cka is None) == ("p1" in (x, y))
        assert row.cka is None or np.isfinite(row.cka)
    (panel,) = Similarity().figure(table_of(Similarity(), found.values())).panels
    assert np.isnan(panel.heat.values[1]).all()
    assert "does not vary" in Similarity().figure(table_of(Similarity(), found.values())).caption


def test_below_four_groups_there_is_no_error(maps):
    found = cells(observe([own[:48] for own in maps]).rows())["p0", "p1"]
    assert (found.groups, found.standard_error) == (3, None)


def test_fewer_images_than_a_group_give_no_value(maps):
    found = cells(observe([own[:10] for own in maps]).rows())["p0", "p0"]
    assert (found.cka, found.groups, found.dropped) == (None, 0, 10)


@pytest.mark.parametrize(("group", "best"), [(3, 4), (1, 4), (48, 32), (300, 256)])
def test_group_must_fill_a_part(group, best):
    with pytest.raises(
        ConfigError, match=rf"group: must be a power of two from 4 to 256; got {group}. Did you mean {best}\?"
    ):
        Similarity(group=group)


def test_between_two_models_equals_the_definition(maps):
    others = make_points([(3, 3), (6, 6)], stages=[0, 1])
    theirs = [maps[0][:, :, :3, :3] ** 2, make_maps(others, IMAGES, seed=5)[1]]
    states = (
        stored(Similarity(), observe(maps)),
        stored(Similarity(), observe(theirs, others)),
    )
    rows = ASKED.between(*states, POINTS, others, model_x="a", model_y="b")
    assert len(rows) == 6
    for row in rows:
        x, y = flat(maps[int(row.point_x[1])]), flat(theirs[int(row.point_y[1])])
        assert row.cka == pytest.approx(twin.minibatch_cka(x, y, GROUP), abs=1e-10)
        assert (row.model_x, row.model_y, row.groups, row.group, row.dropped) == ("a", "b", 4, GROUP, 6)
    figure = ASKED.between_figure(to_table(BetweenRow, rows))
    assert np.shape(figure.panels[0].heat.values) == (2, 3)
    assert figure.panels[0].heat.values[1][2] == rows[5].cka


def test_a_model_with_its_copy_equals_the_model_with_itself(maps):
    state = observe(maps).state()
    rows = ASKED.between(state, state, POINTS, POINTS, model_x="a", model_y="b")
    assert [row.cka for row in rows] == [row.cka for row in observe(maps).rows()]


def test_two_models_may_see_the_images_in_different_orders(maps):
    order = np.random.default_rng(3).permutation(64)
    states = observe(maps, batch=64).state(), observe(maps, batch=64, positions=order).state()
    in_order = ASKED.between(states[0], states[0], POINTS, POINTS, model_x="a", model_y="b")
    shuffled = ASKED.between(*states, POINTS, POINTS, model_x="a", model_y="b")
    assert [row.cka for row in shuffled] == pytest.approx([row.cka for row in in_order], abs=1e-10)


def test_groups_that_one_model_lacks_are_left_out(maps):
    states = observe(maps).state()
    fewer = [row for row in states if row.group_index != 1]
    row = ASKED.between(states, fewer, POINTS, POINTS, model_x="a", model_y="b")[1]
    keep = np.r_[0:16, 32:64]
    expected = twin.minibatch_cka(flat(maps[0])[keep], flat(maps[1])[keep], GROUP)
    assert (row.groups, row.dropped) == (3, 16 + 6)
    assert row.cka == pytest.approx(expected, abs=1e-10)


def test_models_grouped_differently_are_refused(maps):
    states = observe(maps).state(), observe(maps, group=32).state()
    with pytest.raises(ConfigError, match="group must be the same for both models, not 16 and 32"):
        ASKED.between(*states, POINTS, POINTS, model_x="a", model_y="b")


def test_figure_is_a_heat_map_per_model_with_stage_ticks(maps):
    rows = list(observe(maps).rows())
    table = pa.concat_tables([table_of(Similarity(), rows, "a"), table_of(Similarity(), rows, "b")])
    figure = Similarity().figure(table)
    assert [panel.model for panel in figure.panels] == ["a", "b"]
    heat = figure.panels[0].heat
    assert heat.ticks == ((0, "stem"), (1, "stage 1"))
    assert heat.values[0][2] == cells(rows)["p2", "p0"].cka
    assert heat.error[0][2] == cells(rows)["p2", "p0"].standard_error
    assert "4 groups of 16 images" in figure.caption
    assert "6 images in no whole group left out" in figure.caption
