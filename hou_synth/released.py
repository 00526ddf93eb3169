"""Where the released models lie, which every command uses by default: both learned without a label."""

import pathlib

import hou_synth

NAME = "universal_unet"
LYMPHOCYTE = "lymphocyte"  # which of the nuclei are lymphocytes
VERSIONS = {NAME: 2, LYMPHOCYTE: 1}  # later exports to the same folders do not replace them as the default
PACKAGE = pathlib.Path(hou_synth.__file__).resolve().parent
MODELS = PACKAGE.with_name("saved_models")  # beside the package
FOLDER = MODELS / NAME / str(VERSIONS[NAME])


def model():
    """Path of the released SavedModel.

    Raises:
        ValueError: if it is not there.
    """
    return _there(FOLDER)


def lymphocyte():
    """Path of the released classifier of lymphocytes, a SavedModel.

    Raises:
        ValueError: if it is not there.
    """
    return _there(MODELS / LYMPHOCYTE / str(VERSIONS[LYMPHOCYTE]))


def _there(folder):
    if not (folder / "saved_model.pb").is_file():
        raise ValueError(
            f"Expected the released model in {folder}. Received: nothing there. Name another with --model, or put "
            f"saved_models/{folder.parent.name} of the repository there."
        )
    return folder
