"""Nucleus segmentation for H&E histopathology, trained without labels (Hou et al., CVPR 2019)."""

__version__ = "0.1.0"


def load(path=None, engine="tensorflow"):
    """A model that segments images.

        model = hou_synth.load()
        labels = model.segment(image)

    A SavedModel is a program, which TensorFlow runs: load only those that you trust.

    Args:
        path: `saved_models/<name>`, whose highest version is taken, or `saved_models/<name>/<version>`; by default the
            released model.
        engine: what runs the network, "tensorflow" or "openvino", see `hou_synth.engines`.

    Returns:
        A `hou_synth.model.Model`.

    Raises:
        ValueError: if there is no SavedModel, or it does not take images and return the two maps, or the engine is not
            installed.
    """
    from hou_synth import model  # here, so that what needs no model does not wait for its imports

    return model.load(path, engine)
