import os
import subprocess
import sys
import time

import cv2
import h5py
import numpy as np
import pytest

from data import synthetic, tiles
from hou_synth import config

PAPER = config.preset("paper").synthesis
OURS = config.preset("cpu").synthesis


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])


@pytest.fixture
def folder(tmp_path, tissue_image):
    image, _ = tissue_image
    write(tmp_path / "tiles/lung/a.png", image)
    write(tmp_path / "tiles/lung/deep/er/b.jpg", image[:, ::-1])
    write(tmp_path / "tiles/liver/c.tif", image[::-1])
    return tmp_path / "tiles"


def build(folder, settings=PAPER, **options):
    return tiles.build(tiles.folder_sources(folder), folder.parent / "bank.h5", settings, progress=False, **options)


def test_tiles_of_any_format_and_depth_are_found(folder):
    bank = build(folder)
    assert [tile.name for tile in bank.tiles] == ["liver/c.tif", "lung/a.png", "lung/deep/er/b.jpg"]
    assert bank.types == ["liver", "lung"]
    assert bank.left_out == {}


def test_linked_folders_are_followed_and_circles_end(folder, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "lab").symlink_to(folder, target_is_directory=True)
    (linked / "again").symlink_to(linked, target_is_directory=True)
    names = [source.name for source in tiles.folder_sources(linked)]
    assert names == [f"lab/{source.name}" for source in tiles.folder_sources(folder)]


def test_the_bank_holds_the_tile_itself(folder, tissue_image):
    bank = build(folder)
    assert (bank.tiles[1].image == tissue_image[0]).all()


def test_a_second_build_reads_no_tile(folder, monkeypatch):
    build(folder)
    monkeypatch.setattr(tiles, "_prepared", None)
    assert len(build(folder).tiles) == 3


def test_changed_added_and_removed_tiles_are_noticed_and_nothing_else_is_done_again(folder, tissue_image, monkeypatch):
    build(folder)
    image, _ = tissue_image
    write(folder / "lung/a.png", np.ascontiguousarray(image.transpose(1, 0, 2)))
    write(folder / "lung/new.png", image)
    os.remove(folder / "liver/c.tif")
    done, original = [], tiles._prepared

    def counted(source, settings):
        done.append(source.name)
        return original(source, settings)

    monkeypatch.setattr(tiles, "_prepared", counted)
    bank = build(folder)
    assert sorted(done) == ["lung/a.png", "lung/new.png"]
    assert [tile.name for tile in bank.tiles] == ["lung/a.png", "lung/deep/er/b.jpg", "lung/new.png"]
    assert (bank.tiles[0].image == image.transpose(1, 0, 2)).all()


def test_a_build_killed_outright_goes_on(folder, tissue_image, tmp_path, monkeypatch):
    for number in range(24):
        write(folder / f"many/{number}.png", tissue_image[0][:128, :128])
    code = (
        "import sys; from data import tiles; from hou_synth import config; "
        "tiles.build(tiles.folder_sources(sys.argv[1]), sys.argv[2], config.preset('paper').synthesis, workers=1)"
    )
    bank = tmp_path / "bank.h5"
    parts = tmp_path / "bank.h5.parts"
    child = subprocess.Popen([sys.executable, "-c", code, str(folder), str(bank)], stderr=subprocess.DEVNULL)
    while len(list(parts.glob("*.h5"))) < 2:
        assert child.poll() is None
        time.sleep(0.002)
    child.kill()
    child.wait()
    assert not bank.exists()
    before = sum(len(tiles._stamps(part, PAPER)) for part in parts.glob("*.h5"))
    assert 8 <= before < 27
    done, original = [], tiles._prepared
    monkeypatch.setattr(tiles, "_prepared", lambda source, settings: done.append(source) or original(source, settings))
    assert len(build(folder).tiles) == 27 and len(done) == 27 - before
    assert not parts.exists()


def test_other_settings_prepare_anew(folder):
    paper = build(folder).tiles[0].background.copy()
    with pytest.raises(ValueError, match=r"super_level 0.4.*Received.*super_level 0.0.*--rebuild"):
        build(folder, OURS)
    ours = build(folder, OURS, rebuild=True).tiles[0].background
    assert (paper != ours).any()


def test_bad_tiles_are_left_out_with_their_reason(folder, tissue_image):
    image, _ = tissue_image
    (folder / "corrupt.png").write_bytes(b"no image")
    write(folder / "small.png", image[:40])
    write(folder / "blank.png", np.full_like(image, 243))
    cv2.imwrite(str(folder / "grey.png"), image[..., 0])
    noise = np.random.default_rng(0).integers(150, 220, image.shape).astype(np.uint8)
    write(folder / "pale.png", noise)
    bank = build(folder)
    assert len(bank.tiles) == 3
    reasons = {"corrupt.png": "decoded", "small.png": "64x64", "blank.png": "blank", "grey.png": "RGB"}
    reasons["pale.png"] = "nuclear colour"
    assert bank.left_out.keys() == reasons.keys()
    assert all(word in bank.left_out[name] for name, word in reasons.items())
    bank.report(folder.parent / "left_out.csv")
    assert "small.png" in (folder.parent / "left_out.csv").read_text()


def test_no_usable_tile_is_an_error(tmp_path):
    (tmp_path / "corrupt.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="usable tile.*decoded"):
        tiles.build(tiles.folder_sources(tmp_path), tmp_path / "bank.h5", PAPER, progress=False)


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        tiles.folder_sources(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="Received: none"):
        tiles.folder_sources(tmp_path)


def test_a_file_that_is_no_bank_is_named(tmp_path):
    (tmp_path / "bank.h5").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="tile bank"):
        tiles.Bank(tmp_path / "bank.h5")


def test_patches_larger_than_every_tile_are_refused(folder):
    with pytest.raises(ValueError, match="500x500"):
        build(folder).fitting(500)


def test_layers_are_contiguous_on_disk(folder):
    build(folder)
    with h5py.File(folder.parent / "bank.h5") as file:
        assert all(group[layer].chunks is None for group in file["tiles"].values() for layer in tiles.LAYERS)


def test_embedded_tissue_is_usable_in_every_preset(tmp_path):
    for name in config.PRESETS:
        bank = tiles.build(
            tiles.embedded_sources(), tmp_path / f"{name}.h5", config.preset(name).synthesis, progress=False
        )
        assert len(bank.tiles) >= 12 and len(bank.types) == 4
        largest = synthetic.example(bank, 0, 0, 512, config.preset(name).synthesis)
        assert largest.image.shape == (512, 512, 3) and largest.labels.max() > 3
