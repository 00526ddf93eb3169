import os
import subprocess
import sys
import time

import cv2
import h5py
import numpy as np
import pytest

from data import synthetic, tile_options, tiles
from hou_synth import config
from hou_synth.io import locks

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


def overwritten(path, name, layer, content):
    """Writes bytes over a layer of a tile, in the middle of the file, as a failing disk would."""
    with h5py.File(path) as file:
        group = next(group for group in file["tiles"].values() if group.attrs["name"] == name)
        offset = group[layer].id.get_offset()
    with open(path, "r+b") as file:
        file.seek(offset + 1000)
        file.write(content)


@pytest.mark.parametrize("layer", tiles.LAYERS)
def test_a_tile_overwritten_with_noise_is_named_and_prepared_anew(folder, layer):
    path, whole = folder.parent / "bank.h5", build(folder).tiles[1].background.copy()
    overwritten(path, "lung/a.png", layer, os.urandom(20_000))
    for opened in (lambda: tiles.Bank(path), lambda: build(folder)):
        with pytest.raises(ValueError, match="bank.h5.*lung/a.png.*--rebuild"):
            opened()
    assert (build(folder, rebuild=True).tiles[1].background == whole).all()


def test_flipped_bytes_anywhere_are_one_error(folder):
    path = folder.parent / "bank.h5"
    build(folder)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(5):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[random.integers(0, len(whole), 200_000)] ^= 255
        path.write_bytes(damaged.tobytes())
        for opened in (lambda: tiles.Bank(path), lambda: build(folder)):
            with pytest.raises(ValueError, match="bank.h5.*--rebuild"):
                opened()
    assert len(build(folder, rebuild=True).tiles) == 3


def earlier(path):
    """Makes a bank of the version before checksums, whose groups had the names of the tiles."""
    with h5py.File(path, "r+") as file:
        for key, group in list(file["tiles"].items()):
            del group.attrs["checksum"]
            file["tiles"].move(key, group.attrs["name"].replace("/", "|"))


def test_a_bank_without_checksums_loads_and_gets_them_where_its_tiles_are(folder, monkeypatch):
    path, whole = folder.parent / "bank.h5", build(folder)
    earlier(path)
    old = tiles.Bank(path)
    assert [tile.name for tile in old.tiles] == [tile.name for tile in whole.tiles] and old.stamps == whole.stamps
    assert (old.tiles[0].image == whole.tiles[0].image).all()
    assert (build(folder).tiles[0].background == whole.tiles[0].background).all()
    overwritten(path, "lung/a.png", "image", bytes(1000))
    with pytest.raises(ValueError, match="lung/a.png"):
        tiles.Bank(path)


def test_a_bank_without_checksums_has_to_have_the_form_of_one(folder):
    path = folder.parent / "bank.h5"
    build(folder)
    earlier(path)
    with h5py.File(path, "r+") as file:
        file["tiles"]["lung|a.png"].attrs["density"] = np.nan
    with pytest.raises(ValueError, match="bank.h5.*lung/a.png.*form"):
        tiles.Bank(path)


def test_names_that_are_not_utf_8_or_hold_what_hdf5_gives_a_meaning(tmp_path, tissue_image):
    image, _ = tissue_image
    for name in ("organs/x.png", "organs|x.png", "one.png"):
        write(tmp_path / "tiles" / name, image)
    os.rename(tmp_path / "tiles/one.png", os.fsencode(tmp_path / "tiles") + b"/caf\xe9.png")
    bank = build(tmp_path / "tiles")
    assert [tile.name for tile in bank.tiles] == [r"caf\xe9.png", "organs/x.png", "organs|x.png"]
    assert bank.types == ["", "organs"] and (bank.tiles[0].image == image).all()


@pytest.mark.parametrize("what", ["tiles", "tiles/00000001", "tiles/00000001/image", "tiles/00000001/cells"])
@pytest.mark.parametrize("link", [h5py.SoftLink("/elsewhere"), h5py.ExternalLink("other.h5", "/elsewhere")])
def test_links_in_a_bank_are_not_followed(folder, what, link):
    path = folder.parent / "bank.h5"
    build(folder)
    with h5py.File(path, "r+") as file, h5py.File(folder.parent / "other.h5", "w") as other:
        file.copy(what, other, "elsewhere")
        file.move(what, "elsewhere")
        file[what] = link
    with pytest.raises(ValueError, match="bank.h5.*link"):
        tiles.Bank(path)


def test_layers_stored_in_other_files_are_not_read(folder):
    path = folder.parent / "bank.h5"
    build(folder)
    (folder.parent / "secret").write_bytes(os.urandom(256 * 256))
    with h5py.File(path, "r+") as file:
        del file["tiles/00000001/eosin"]
        external = [(str(folder.parent / "secret"), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("tiles/00000001/eosin", (256, 256), np.uint8, external=external)
    with pytest.raises(ValueError, match="bank.h5.*eosin.*other files"):
        tiles.Bank(path)


def test_a_bank_that_another_process_builds_is_left_to_it(folder):
    with locks.exclusive(folder.parent / "bank.h5.parts"):
        with pytest.raises(ValueError, match="bank.h5.parts.*another process"):
            build(folder)
    assert len(build(folder).tiles) == 3


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


def dimmed(image, white):
    return np.rint(image * (np.array(white) / 250)).astype(np.uint8)


def balanced_bank(folder):
    return {tile.name: tile.image.astype(int) for tile in build(folder, OURS).tiles}


def test_each_type_has_its_own_white_which_all_its_tiles_share(tmp_path, tissue_image):
    image = tissue_image[0].copy()
    clear = image.copy()
    clear[:64, :64] = 250
    for kind, white in {"dark": (160, 150, 145), "light": (250, 250, 250)}.items():
        write(tmp_path / f"tiles/{kind}/full.png", dimmed(image, white))
        write(tmp_path / f"tiles/{kind}/clear.png", dimmed(clear, white))
    images = balanced_bank(tmp_path / "tiles")
    for name, original in {"full.png": image, "clear.png": clear}.items():
        assert np.abs(images[f"light/{name}"] - original).max() <= 6
        assert np.abs(images[f"dark/{name}"] - images[f"light/{name}"]).max() <= 6


def test_another_tile_of_a_type_changes_the_white_of_all(folder, tissue_image, monkeypatch):
    before = balanced_bank(folder)
    write(folder / "lung/dim.png", dimmed(tissue_image[0], (125, 125, 125)))
    done, original = [], tiles._prepared
    monkeypatch.setattr(
        tiles, "_prepared", lambda source, settings: done.append(source.name) or original(source, settings)
    )
    assert sorted(balanced_bank(folder)) == sorted([*before, "lung/dim.png"])
    assert sorted(done) == ["lung/a.png", "lung/deep/er/b.jpg", "lung/dim.png"]
    done.clear()
    assert len(balanced_bank(folder)) == 4 and done == []


def halved(image):
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def test_tiles_of_another_resolution_are_brought_to_40x(tmp_path, tissue_image):
    image, _ = tissue_image
    write(tmp_path / "tiles/a/fine.png", image)
    write(tmp_path / "tiles/b/half.png", halved(image))
    (tmp_path / "half.csv").write_text("image,type,microns_per_pixel\nb,,0.5\n")
    beside = tmp_path / "banks"
    tissue = tile_options.TileFolder(str(tmp_path / "tiles"), str(tmp_path / "half.csv"))
    fine, half = tiles.prepare(tissue, PAPER, beside=beside).tiles
    assert fine.image.shape == half.image.shape == (256, 256, 3) and (fine.image == image).all()
    assert np.abs(half.image.astype(float) - image).mean() < 8
    plain = tiles.prepare(tmp_path / "tiles", PAPER, beside=beside)
    assert [tile.image.shape[0] for tile in plain.tiles] == [256, 128] and len(list(beside.glob("*.h5"))) == 2
    every = tile_options.TileFolder(str(tmp_path / "tiles"), str(tmp_path / "half.csv"), 0.5)
    assert [tile.image.shape[0] for tile in tiles.prepare(every, PAPER, beside=beside).tiles] == [512, 256]


def test_a_table_in_the_folder_tells_types_and_resolutions(folder, tissue_image):
    build(folder)
    (folder / "images.csv").write_text("image,type,microns_per_pixel\nlung/a.png,clinic,0.5\nb,clinic,\n")
    bank = build(folder)
    assert [(tile.type, tile.image.shape[0]) for tile in bank.tiles] == [
        ("liver", 256),
        ("clinic", 512),
        ("clinic", 256),
    ]
    assert bank.types == ["clinic", "liver"]
    (folder / "images.csv").write_text("image\nmissing.png\n")
    with pytest.raises(ValueError, match=r"missing\.png.*images\.csv"):
        build(folder)


@pytest.mark.parametrize("resolution", [0.0, -1.0, 20.0])
def test_resolutions_that_cannot_be_meant_are_refused(folder, resolution):
    with pytest.raises(ValueError, match="microns per pixel"):
        tiles.folder_sources(folder, microns_per_pixel=resolution)
