import cv2
import numpy as np
import pytest

from data import sheet, synthesize
from hou_synth.io import image_files


@pytest.fixture
def folder(tmp_path, tissue_image):
    for name in ("lung/a", "lung/b", "skin/a"):
        path = tmp_path / "tiles" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), tissue_image[0][..., ::-1])
    (tmp_path / "tiles/skin/broken.png").write_bytes(b"no image")
    return tmp_path


def test_a_sheet_has_the_rows_of_each_type_and_tells_what_is_left_out(folder, capsys):
    out = folder / "sheet.png"
    words = ["--tiles", folder / "tiles", "--count", 2, "--size", 96, "--preset", "paper", "--sheet", out]
    assert synthesize.main([str(word) for word in words]) == 0
    told = capsys.readouterr().out
    assert "lung: 2 tiles" in told and "skin: 1 tiles" in told and "left out: skin/broken.png: " in told
    assert synthesize.main([str(word) for word in words]) == 2 and "sheet.png" in capsys.readouterr().err
    drawn, side = image_files.image(out), 2 * 96
    assert drawn.shape == (3 * (side + sheet.HEAD), 4 * side, 3)
    for row in np.split(drawn, 3):
        tile, background, nuclei, patch = np.split(row[sheet.HEAD :], 4, axis=1)
        dark = (tile[..., 0] < 140) & (background[..., 0] > 170)
        assert dark.mean() > 0.03  # nuclei of the tile, which its background has lost
        painted = nuclei.any(-1)
        assert not painted.any() or patch[painted].mean() < patch[~painted].mean() - 20


def test_a_sheet_is_drawn_in_place_of_a_data_set(folder, capsys):
    words = ["--tiles", str(folder / "tiles"), "--count", "1", "--sheet", str(folder / "s.png")]
    with pytest.raises(SystemExit, match="2"):
        synthesize.main([*words, "--out", str(folder / "s.h5")])
    assert "not allowed with" in capsys.readouterr().err
