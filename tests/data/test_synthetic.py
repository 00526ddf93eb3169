import contextlib

import numpy as np
import pytest
import tensorflow as tf

from data import augment, pipeline, synthetic, workers
from hou_synth import config

PAPER = config.preset("paper")


def test_example_is_a_pure_function_of_bank_seed_and_index(bank):
    one = synthetic.example(bank, 7, 3, 75, PAPER.synthesis)
    synthetic.example(bank, 7, 4, 75, PAPER.synthesis)
    same = synthetic.example(bank, 7, 3, 75, PAPER.synthesis)
    for name in ("image", "labels", "centres", "contours", "reference", "real"):
        assert (getattr(one, name) == getattr(same, name)).all()
    assert one.provenance == same.provenance
    assert (one.image != synthetic.example(bank, 8, 3, 75, PAPER.synthesis).image).any()


@pytest.mark.parametrize("side", [64, 100, 128])
def test_reference_does_not_overlap_the_source(bank, side):
    for index in range(40):
        example = synthetic.example(bank, 0, index, side, PAPER.synthesis)
        assert example.provenance["overlap"] == 0.0
        (y, x), (v, u) = example.provenance["source"], example.provenance["reference"]
        assert abs(y - v) >= side or abs(x - u) >= side


def test_reference_is_a_crop_of_the_source_s_tile(bank):
    example = synthetic.example(bank, 0, 5, 100, PAPER.synthesis)
    tile = next(tile for tile in bank.tiles if tile.name == example.provenance["tile"])
    y, x = example.provenance["reference"]
    crop = tile.image[y : y + 100, x : x + 100]
    turned = [np.rot90(view, k) for k in range(4) for view in (crop, crop.transpose(1, 0, 2))]
    assert any((example.reference == view).all() for view in turned)


def test_where_no_free_crop_fits_the_farthest_corner_is_taken():
    source, reference = synthetic.corners(np.random.default_rng(0), (256, 256), 200)
    assert reference in {(y, x) for y in (0, 56) for x in (0, 56)}
    assert 0 < synthetic.overlap(source, reference, 200) < 1


def test_overlap_by_hand():
    assert synthetic.overlap((0, 0), (0, 0), 10) == 1.0
    assert synthetic.overlap((0, 0), (5, 0), 10) == 0.5
    assert synthetic.overlap((0, 0), (5, 12), 10) == 0.0


def test_target_bits(bank):
    example = synthetic.example(bank, 0, 2, 128, PAPER.synthesis)
    target = example.target(PAPER.losses)
    assert ((target & 1 > 0) == (example.labels > 0)).all()
    assert ((target & 2 > 0) == example.contours).all()
    inside = example.centres.copy()
    inside[[0, -1]] = inside[:, [0, -1]] = False
    y, x = np.argwhere(inside)[0]
    assert (target[y - 1 : y + 2, x - 1 : x + 2] & 4 > 0).all()


def test_core_target_gives_each_nucleus_one_inner_part(bank):
    example = synthetic.example(bank, 0, 2, 128, PAPER.synthesis)
    core = example.target(config.preset("cpu").losses) & 4 > 0
    assert not core[example.contours].any() and (example.labels[core] > 0).all()
    areas = np.bincount(example.labels.ravel())
    large = [k for k in range(1, len(areas)) if areas[k] > 60]
    assert large and all(core[example.labels == k].any() for k in large)
    assert 0.02 < core.sum() / (example.labels > 0).sum() < 0.5


def test_arrays_are_turned_together():
    image = np.arange(48).reshape(4, 4, 3)
    for seed in range(16):
        one, other = augment.turned(np.random.default_rng(seed), image, image[..., 0])
        assert (one[..., 0] == other).all()


def test_sixteen_turns_reach_all_eight_views():
    image = np.arange(9).reshape(3, 3)
    views = {augment.turned(np.random.default_rng(seed), image)[0].tobytes() for seed in range(64)}
    assert len(views) == 8


@pytest.mark.parametrize("processes", [0, 2])
def test_pipeline_yields_the_examples_in_order_from_any_index(bank, processes):
    small = config.preset("paper", patch=64, batch=2)
    with contextlib.closing(pipeline.Source(bank, small, processes)) as source:
        dataset = source.rounds(updates=3, start=4)
        first = next(iter(dataset))
        again = next(iter(dataset))
    assert all((first[name].numpy() == again[name].numpy()).all() for name in first)
    assert first["image"].shape == (3, 2, 64, 64, 3) and first["target"].shape == (3, 2, 64, 64, 1)
    for update in range(3):
        for row in range(2):
            example = synthetic.example(bank, 0, 4 + 2 * update + row, 64, small.synthesis)
            assert (first["image"][update, row].numpy() == example.image).all()
            assert (first["reference"][update, row].numpy() == example.reference).all()
            assert (first["real"][update, row].numpy() == example.real).all()
            assert (first["target"][update, row, ..., 0].numpy() == example.target(small.losses)).all()


def test_real_tiles_give_patches_of_every_size(real_data, tmp_path):
    from data import tiles

    folder = tmp_path / "tiles"
    folder.mkdir()
    for path in sorted((real_data / "tiles/refer").glob("*.png"))[:6]:
        (folder / path.name).symlink_to(path)
    for name in config.PRESETS:
        settings = config.preset(name).synthesis
        real = tiles.build(tiles.folder_sources(folder), tmp_path / f"{name}.h5", settings, progress=False)
        for side in (64, 75, 200, 400):
            example = synthetic.example(real, 1, 2, side, settings)
            assert example.image.shape == (side, side, 3)
            nuclei = example.labels > 0
            if example.lymphocytes is not None:  # others are pale, amid a haze that may be darker
                nuclei = example.lymphocytes[example.labels]
            if nuclei.any():
                assert example.image[nuclei].mean() < example.image[~nuclei].mean()


def test_pipeline_names_a_worker_that_dies(bank, monkeypatch):
    small = config.preset("paper", patch=64, batch=2)
    with contextlib.closing(pipeline.Source(bank, small, 1)) as source:
        batches = iter(source.rounds(updates=1))
        next(batches)
        source._blocks.gi_frame.f_locals["team"][0].process.kill()
        with pytest.raises(tf.errors.OpError):
            for _ in range(100):
                next(batches)
        assert isinstance(source.error, workers.WorkerDied) and "worker 0 (process" in str(source.error)
