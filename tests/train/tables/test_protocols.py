import collections

import pytest

from train.tables import protocols

Image = collections.namedtuple("Image", "name type")
IMAGES = [Image(f"{organ}{number}", organ) for organ in ("lung", "breast", "kidney") for number in range(4)]


def test_within_tests_every_image_once_with_its_type_in_the_training():
    splits = protocols.within(IMAGES, 4)
    assert sorted(name for split in splits for name in split.test) == sorted(image.name for image in IMAGES)
    for split in splits:
        assert not set(split.training) & set(split.test) and len(split.training) + len(split.test) == 12
        assert {name[:-1] for name in split.test} == {name[:-1] for name in split.training}


def test_across_leaves_one_type_out():
    splits = {split.name: split for split in protocols.across(IMAGES)}
    assert set(splits) == {"lung", "breast", "kidney"}
    assert splits["lung"].test == ("lung0", "lung1", "lung2", "lung3")
    assert {name[:-1] for name in splits["lung"].training} == {"breast", "kidney"}


@pytest.mark.parametrize(
    "images,folds,word", [(IMAGES, 1, "folds"), (IMAGES[:5], 2, "breast"), ([IMAGES[0], IMAGES[4]], 2, "lung")]
)
def test_within_needs_two_images_of_a_type(images, folds, word):
    with pytest.raises(ValueError, match=word):
        protocols.within(images, folds)


def test_across_needs_two_types():
    with pytest.raises(ValueError, match="lung"):
        protocols.across(IMAGES[:4])


def test_cells_of_within():
    splits = protocols.within(IMAGES, 2)
    cells = protocols.cells("within", splits, ["unet", "cnn"], protocols.ROWS, [1, 4], 0)
    rows = collections.Counter(cell.row for cell in cells)
    assert rows == {
        "supervised-unet": 2,
        "universal-unet": 1,
        "real-unet": 2,
        "finetune1-unet": 2,
        "finetune4-unet": 2,
        "supervised-cnn": 2,
        "universal-cnn": 1,
    }
    assert len({cell.name for cell in cells}) == len(cells)
    assert [cell.network for cell in cells] == sorted((cell.network for cell in cells), reverse=True)
    universal = next(cell for cell in cells if cell.row == "universal-unet")
    assert universal.training == () and len(universal.test) == 12
    for cell in cells:
        assert not set(cell.training) & set(cell.test)


def test_few_images_are_always_among_more_and_the_seed_chooses_them():
    splits = protocols.within(IMAGES, 4)
    shots = {
        (seed, len(cell.training)): set(cell.training)
        for seed in (0, 1)
        for cell in protocols.cells("within", splits[:1], ["unet"], ["finetune"], [1, 2, 4], seed)
    }
    assert shots[0, 1] < shots[0, 2] < shots[0, 4] and shots[0, 4] != shots[1, 4]


def test_a_protocol_of_few_images_is_refused_and_not_filled_with_equal_cells():
    pair = IMAGES[:2]
    with pytest.raises(ValueError, match=r"Expected 4 images of a tissue type .* Received: 2; --folds 2 takes as many"):
        protocols.within(pair, 4)
    splits = protocols.within(pair, 2)
    with pytest.raises(ValueError, match=r"Expected at most 1 images to fine-tune with.* Received: --shots 1 2\.$"):
        protocols.cells("within", splits, ["unet"], protocols.ROWS, [1, 2], 0)
    assert len(protocols.cells("within", splits, ["unet"], ["supervised"], [1, 2], 0)) == 2
    assert len(protocols.cells("within", splits, ["unet"], ["finetune"], [1], 0)) == 2


def test_titles_are_the_paper_s():
    assert protocols.title("supervised-cnn") == "Type-specific CNN"
    assert protocols.title("universal-unet") == "Universal U-net, no labels"
    assert protocols.title("real-unet") == "Universal U-net + real"
    assert protocols.title("finetune4-unet") == "Universal U-net, fine-tuned with 4"
