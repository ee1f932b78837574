from salcheck.datasets import Item
from salcheck.inputs.sample import draw, hold_out, image_seed

ITEMS = [Item(f"image {i}") for i in range(1000)]


def test_a_smaller_draw_is_the_beginning_of_a_larger_one():
    assert draw(ITEMS, 50, seed=3) == draw(ITEMS, 500, seed=3)[:50]


def test_seeds_give_different_orders_and_the_same_seed_the_same():
    assert draw(ITEMS, 50, seed=3) == draw(list(reversed(ITEMS)), 50, seed=3)
    assert draw(ITEMS, 50, seed=3) != draw(ITEMS, 50, seed=4)


def test_held_out_images_are_about_half_and_never_evaluated():
    pool, held = hold_out(ITEMS, seed=0)
    assert not {i.key for i in pool} & {i.key for i in held}
    assert len(pool) + len(held) == 1000
    assert 400 < len(held) < 600


def test_being_held_out_does_not_depend_on_the_other_images():
    held = {i.key for i in hold_out(ITEMS, seed=0)[1]}
    assert {i.key for i in hold_out(ITEMS[::7], seed=0)[1]} == {i.key for i in ITEMS[::7]} & held


def test_image_seeds_differ_and_fit_a_generator():
    seeds = {image_seed(0, item.key) for item in ITEMS} | {image_seed(1, item.key) for item in ITEMS}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**63 for seed in seeds)
