"""What a served model answers: the signatures of a SavedModel, in TensorFlow's own operations alone."""

import tensorflow as tf

from hou_synth.inference import OUTPUTS
from hou_synth.lymphocytes import OUTPUT, SIDE
from models.discriminator import smallest_patch
from models.task import multiple, padded
from train.loop.task_trainer import signed, unsigned
from train.serving import decoding
from train.serving.graph_checks import IMAGES, TEXTS, checked, listed, required


def probabilities(task, images):
    """Probabilities of a batch of images.

    Args:
        task: task network, logits out.
        images: (b, h, w, 3) uint8 RGB.

    Returns:
        dict of `segmentation` and `detection`, (b, h, w, 1) float32 in [0, 1].
    """
    logits = padded(task, signed(images), multiple(task))
    return {name: tf.sigmoid(logits[name]) for name in OUTPUTS}


class Refinement:
    """Refiner, discriminator and importance weights of a run, fixed."""

    def __init__(self, settings, refiner, discriminator, weighting, ratio):
        """Keeps them.

        Args:
            settings: `Config`.
            refiner: network.
            discriminator: network.
            weighting: `train.loop.weighting.Weighting`; the estimates that it has when the model is saved are served.
            ratio: c, synthetic inputs over real inputs that the discriminator has seen.
        """
        self.smallest = smallest_patch(settings.networks)
        self.refiner, self.discriminator, self.weighting, self.ratio = refiner, discriminator, weighting, ratio

    def __call__(self, synthetic, reference):
        """The refined patches and their weights, as the task network learns from them, but in float32.

        Args:
            synthetic: (b, h, w, 3) uint8.
            reference: (b, h, w, 3) uint8.

        Returns:
            dict of `refined`, (b, h, w, 3) uint8, and `weight`, (b,) float32.
        """
        reference = signed(reference)
        refined = unsigned(self.refiner({"synthetic": signed(synthetic), "reference": reference}, training=False))
        logits = self.discriminator({"patch": signed(refined), "reference": reference}, training=False)
        return {"refined": refined, "weight": self.weighting.unshuffled(logits, self.ratio)}


class Served:
    """The functions of a SavedModel. Each but `maps` takes what a client sent, whatever it is."""

    def __init__(self, task, documents, refinement=None):
        """Keeps what they need.

        Args:
            task: task network, logits out.
            documents: dict of file name -> text, at least one.
            refinement: `Refinement`, or None for a model without `refine`.
        """
        self.task, self.documents, self.refinement = task, documents, refinement
        self.maps = tf.function(lambda images: probabilities(task, images), [IMAGES], autograph=False)

    def save(self, folder):
        """Writes the SavedModel: the signatures and the variables in them, without the networks' Python objects.

        The variables are TensorFlow's. Of Keras's own, TensorFlow would save copies, and only Python restores those.
        """
        signatures, kept = self.signatures(), tf.Module()
        variables = (variable for function in signatures.values() for variable in function.variables)
        kept.kept = list({id(variable): variable for variable in variables}.values())
        tf.saved_model.save(kept, str(folder), signatures)

    def signatures(self):
        """Concrete functions by the signatures' names."""
        functions = {
            "serving_default": _traced(self.serve, images=IMAGES),
            "encoded": _traced(self.encoded, image_bytes=TEXTS),
            "document": _traced(self.document, names=TEXTS),
        }
        if self.refinement:
            functions["refine"] = _traced(self.refine, synthetic=IMAGES, reference=IMAGES)
        return functions

    def serve(self, images):
        """`segmentation` and `detection` of images of one size, see `probabilities`."""
        return self.maps(checked(images, "images"))

    def encoded(self, image_bytes):
        """The maps of PNG or JPEG files, and the `height` and `width` of each, see `train.serving.decoding`."""
        return decoding.answered(self.maps, listed(image_bytes, "image_bytes"))

    def document(self, names):
        """The `texts` of named files."""
        names, known = listed(names, "names"), list(self.documents)
        same = names[:, None] == tf.constant(known)[None]
        unknown = tf.boolean_mask(names, ~tf.reduce_any(same, 1))
        message = f"Expected names of documents out of {', '.join(known)}. Received: {{}}."
        with required(tf.size(unknown) == 0, message, unknown):
            return {"texts": tf.gather(list(self.documents.values()), tf.argmax(tf.cast(same, tf.int32), 1))}

    def refine(self, synthetic, reference):
        """`refined` patches and the `weight` of each, see `Refinement`."""
        synthetic, reference = checked(synthetic, "synthetic"), checked(reference, "reference")
        least, shape, other = self.refinement.smallest, tf.shape(synthetic), tf.shape(reference)
        right = tf.reduce_all(shape == other) & (tf.reduce_min(shape[1:3]) >= least)
        message = f"Expected synthetic and reference of one shape, sides of at least {least}. Received: {{}} and {{}}."
        with required(right, message, shape, other):
            return self.refinement(tf.identity(synthetic), tf.identity(reference))


class ServedClassifier(Served):
    """The functions of a SavedModel that says where lymphocytes are."""

    def signatures(self):
        """Concrete functions by the signatures' names."""
        named = _traced(self.classify, images=IMAGES), _traced(self.document, names=TEXTS)
        return dict(zip(("serving_default", "document"), named, strict=True))

    def classify(self, images):
        """`lymphocyte`, (b,) float32: the probability that one is at the centre of each patch."""
        images = checked(images, "images")
        sides = tf.shape(images)[1:3]
        with required(
            tf.reduce_min(sides) >= SIDE, f"Expected patches of at least {SIDE}x{SIDE}. Received: {{}}.", sides
        ):
            return {OUTPUT: tf.sigmoid(self.task(signed(tf.identity(images)), training=False)[:, 0])}


def _traced(function, **specs):
    """Concrete function of named tensors."""
    named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}
    return tf.function(function, autograph=False).get_concrete_function(**named)
