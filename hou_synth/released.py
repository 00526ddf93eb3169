"""Where the released model lies: the U-Net that learned without a label, which every command uses by default."""

import pathlib

import hou_synth

NAME = "universal_unet"
VERSION = 1  # of that name; later exports to the same folder do not replace it as the default
PACKAGE = pathlib.Path(hou_synth.__file__).resolve().parent
FOLDER = PACKAGE.with_name("saved_models") / NAME / str(VERSION)  # beside the package


def model():
    """Path of the released SavedModel.

    Raises:
        ValueError: if it is not there.
    """
    if not (FOLDER / "saved_model.pb").is_file():
        raise ValueError(
            f"Expected the released model in {FOLDER}. Received: nothing there. Name another with --model, or put "
            f"saved_models/{NAME} of the repository there."
        )
    return FOLDER
