import types

import numpy as np
import pytest

from hou_synth import config
from hou_synth.slides import quip


@pytest.fixture
def table(tmp_path):
    """The table of a tile with one nucleus, its place and its slide."""
    slide = types.SimpleNamespace(microns_per_pixel=0.25, scale=1.0, width=100, height=90, path=tmp_path / "s.svs")
    place = types.SimpleNamespace(x=0, y=0, width=50, height=50)
    polygon = [[1.0, 2.0], [5.0, 2.0], [5.0, 6.5]]
    nucleus = {**dict.fromkeys(quip.OWN, 0.5), "polygon": np.array(polygon), "area_pixels": 9, "area_40x": 9}
    quip.write(tmp_path, place, slide, [nucleus], config.preset("paper").instances)
    (found,) = quip.read(tmp_path, place, slide)
    assert found["polygon"].tolist() == polygon and found["area_pixels"] == 9
    return tmp_path / (quip.name(place, slide) + quip.FEATURES), place, slide


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"\xff", b"[1]", b"[" * 100_000, b'{"features_bytes": SIZE, "settled": true}']
)
def test_a_tile_whose_description_is_damaged_is_not_complete(table, damage):
    path, place, slide = table
    assert quip.count(path.parent, place, slide) == 1
    description = path.with_name(quip.name(place, slide) + quip.META)
    for nuclei in (b"", b', "nuclei": "1"', b', "nuclei": 1e999'):
        size = str(path.stat().st_size).encode() + nuclei
        description.write_bytes(damage.replace(b"SIZE", size))
        assert quip.count(path.parent, place, slide) is None


@pytest.mark.parametrize("damage", [(b"Polygon", b"Polybon"), (b"1.0:2.0", b"1.0:\xff"), (b"1.0:2.0", b"1.0:b")])
def test_a_damaged_table_of_a_tile_is_named(table, damage):
    path, place, slide = table
    path.write_bytes(path.read_bytes().replace(*damage))
    with pytest.raises(ValueError, match=path.name):
        list(quip.read(path.parent, place, slide))
