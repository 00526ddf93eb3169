"""The networks of a run as they are served, and the task network as a file of ONNX."""

import keras

from hou_synth.io import files
from train.runs import record, universal_run


def networks(folder):
    """The task network of a run and its `Refinement`, None if it has none or its weights are not known any more.

    Args:
        folder: of a run of `train.universal`, `train.supervised` or `train.finetune`.

    Raises:
        ValueError: if there are no networks.
    """
    record.settings(folder)
    if universal_run.adversarial(folder):
        trainer = universal_run.trainer(folder)
        plain = trainer.plain()
        return plain["task"], universal_run.refinement(trainer, plain)
    if not (folder / "task.keras").exists():
        raise ValueError(f"Expected the network of a run in {folder}. Received: a folder without task.keras.")
    return keras.saving.load_model(folder / "task.keras", compile=False), None


def write_onnx(folder, out):
    """Writes the task network of a run to `<out>.onnx`, where TensorFlow Serving does not see it; returns the path.

    Raises:
        ValueError: if the file exists.
        OSError: if it cannot be written.
    """
    from train.serving import onnx  # here, as its libraries are an extra

    path = out.with_name(f"{out.name}.onnx")
    files.refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.write(networks(folder)[0], path)
    return path
