import numpy as np
import tensorflow as tf

from train.loop.pool import Pool


def patches(*values, side=4):
    return {
        name: tf.constant(np.stack([np.full((side, side, count), value, np.uint8) for value in values]))
        for name, count in {"image": 3, "reference": 3, "target": 1}.items()
    }


def kept(pool):
    return sorted(pool.layers["image"].numpy()[: int(pool.size), 0, 0, 0].tolist())


def test_patches_are_appended_until_the_pool_is_full():
    pool = Pool(5, 4)
    pool.put(patches(1, 2), (0, 0))
    assert kept(pool) == [1, 2]
    pool.put(patches(3, 4), (0, 1))
    assert kept(pool) == [1, 2, 3, 4]


def test_a_full_pool_is_overwritten_at_random_places():
    pool = Pool(4, 4)
    pool.put(patches(1, 2, 3, 4), (0, 0))
    pool.put(patches(8, 9), (0, 1))
    values = kept(pool)
    assert len(values) == 4 and set(values) & {8, 9} and set(values) & {1, 2, 3, 4}


def test_whole_batches_fill_the_pool_and_halves_of_them_overwrite_it():
    pool = Pool(5, 4)
    pool.add(patches(1, 2, 3, 4), (0, 0))
    assert kept(pool) == [1, 2, 3, 4]
    pool.add(patches(5, 6, 7, 8), (0, 1))  # the last of them from the front on
    assert kept(pool) == [4, 5, 6, 7, 8]
    pool.add(patches(10, 11, 12, 13), (0, 2))
    assert len(set(kept(pool)) & {4, 5, 6, 7, 8}) == 3 and set(kept(pool)) >= {10, 11}


def test_image_reference_and_truth_stay_together():
    pool = Pool(6, 4)
    pool.put(patches(1, 2, 3, 4, 5, 6), (0, 0))
    drawn = pool.draw(20, (3, 3))
    assert (drawn["image"][:, 0, 0, 0].numpy() == drawn["reference"][:, 0, 0, 0].numpy()).all()
    assert (drawn["image"][:, 0, 0, 0].numpy() == drawn["target"][:, 0, 0, 0].numpy()).all()
    assert len(set(drawn["image"][:, 0, 0, 0].numpy().tolist())) > 3


def test_only_filled_places_are_drawn_and_the_seed_decides():
    pool = Pool(100, 4)
    pool.put(patches(7, 8), (0, 0))
    draws = [pool.draw(16, seed)["image"][:, 0, 0, 0].numpy().tolist() for seed in ((1, 1), (1, 1), (1, 2))]
    assert set(draws[0]) == {7, 8} and draws[0] == draws[1] != draws[2]


def test_no_patch_of_a_batch_is_lost():
    pool = Pool(8, 4)
    pool.put(patches(*range(8)), (0, 0))
    for step in range(20):
        values = (100 + 3 * step, 101 + 3 * step, 102 + 3 * step)
        pool.put(patches(*values), (0, step))
        assert set(values) <= set(kept(pool))
