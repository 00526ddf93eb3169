"""Images as PNG or JPEG files, decoded inside the graph of a served model."""

import tensorflow as tf

from hou_synth.inference import OUTPUTS
from train.serving.graph_checks import required

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"  # how a file begins
PNG_END, JPEG_END = b"IEND", b"\xff\xd9"  # what a whole file holds
HEADER = 26  # bytes of a PNG up to its bit depth and colour type
RGB, PALETTE, RGBA = 2, 3, 6  # colour types of PNG
# An operation's name is part of its error message, the only place for a word about damage inside a file.
NAME = "Expected_an_8-bit_RGB_PNG_or_JPEG_file_that_is_not_damaged"
SIZE = tf.TensorSpec((2,), tf.int32)
PIXELS = tf.TensorSpec((None, None, 3), tf.uint8)
MAP = tf.TensorSpec((None, None, 1), tf.float32)


def answered(maps, files):
    """Maps of the images of some files; those of one size go through the network together, others one by one.

    Args:
        maps: function, (b, h, w, 3) uint8 -> dict of (b, h, w, 1) float32.
        files: (b,) string.

    Returns:
        The same dict of (b, H, W, 1), H and W the largest of the call, 0 beyond an image; with `height` and `width`,
        (b,) int32, of each.
    """
    sizes = tf.map_fn(_size, (tf.range(tf.size(files)), files), fn_output_signature=SIZE)
    largest = tf.reduce_max(sizes, 0)
    with tf.control_dependencies([sizes]):
        files = tf.identity(files)

    def alone(file):
        image = pixels(file)
        beyond = tf.concat([largest - tf.shape(image)[:2], [0]], 0)
        edges = tf.stack([tf.zeros_like(beyond), beyond], 1)
        return {name: tf.pad(values[0], edges) for name, values in maps(image[None]).items()}

    answers = tf.cond(
        tf.reduce_all(sizes == largest),
        lambda: maps(tf.map_fn(pixels, files, fn_output_signature=PIXELS)),
        lambda: tf.map_fn(alone, files, parallel_iterations=1, fn_output_signature=dict.fromkeys(OUTPUTS, MAP)),
    )
    return {**answers, "height": sizes[:, 0], "width": sizes[:, 1]}


def pixels(file):
    """(h, w, 3) uint8 RGB of a file, on white where it is transparent; what `hou_synth.io.image_files.image` reads."""
    return tf.cond(
        _is_png(file),
        lambda: _on_white(tf.io.decode_png(file, 0, name=NAME)),
        lambda: tf.io.decode_jpeg(file, 3, dct_method="INTEGER_ACCURATE", name=NAME),
    )


def _on_white(pixels):
    """RGB of RGB or RGBA; TensorFlow would not decode a palette as RGBA."""
    colours, alpha = tf.ensure_shape(pixels[..., :3], (None, None, 3)), tf.cast(pixels[..., 3:], tf.int32)
    return tf.cond(
        tf.shape(pixels)[2] == 4,
        lambda: tf.cast((tf.cast(colours, tf.int32) * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8),
        lambda: colours,
    )


def _size(numbered):
    """Height and width of a file, which must be a whole one of a kind that `pixels` can read."""
    number, file = numbered
    png, jpeg = _is_png(file), _begins(file, JPEG)
    whole = tf.size(tf.strings.split(file, tf.where(png, PNG_END, JPEG_END))) > 1
    message = "Expected image_bytes to be whole PNG or JPEG files. Received: image_bytes[{}], {} bytes that are none."
    with required((png | jpeg) & whole, message, number, tf.strings.length(file)):
        size, readable = tf.cond(png, lambda: _png(tf.identity(file)), lambda: _jpeg(tf.identity(file)))
    message = "Expected image_bytes to be 8-bit RGB images. Received: image_bytes[{}], grey, 16-bit, CMYK or empty."
    with required(readable & (tf.reduce_min(size) > 0), message, number):
        return tf.identity(size)


def _is_png(file):
    return _begins(file, PNG)


def _begins(file, start):
    return tf.strings.substr(file, 0, len(start)) == start


def _png(file):
    """Height and width in the header of a PNG, and whether its colours are 8-bit RGB, with or without alpha."""
    header = tf.strings.join([file, bytes(HEADER)])  # so that a short file has one too
    width, height = tf.unstack(tf.io.decode_raw(tf.strings.substr(header, 16, 8), tf.int32, False), 2)
    depth, kind = tf.unstack(tf.io.decode_raw(tf.strings.substr(header, 24, 2), tf.uint8), 2)
    readable = (kind == PALETTE) | (depth == 8) & ((kind == RGB) | (kind == RGBA))
    return tf.stack([height, width]), readable


def _jpeg(file):
    """Height and width in the header of a JPEG, and whether it has three channels."""
    shape = tf.io.extract_jpeg_shape(file, name=NAME)
    return shape[:2], shape[2] == 3
