"""Colours brought to a standard: white balance, and colours moved to a fixed target [Reinhard et al. 2001]."""

import cv2
import numpy as np

# LAB statistics of the target: the mean over 110 H&E tiles (400x400, 40X: glioma and many other organs, from
# SBU-BMI/quip_cnn_segmentation) of each tile's mean and standard deviation over its tissue pixels. Ours; the
# release has a target of its own. L is 0 to 100, a and b about -127 to 127.
TARGET_MEAN = np.array([57.65, 32.03, -9.25], np.float32)
TARGET_STD = np.array([14.31, 8.31, 7.41], np.float32)

WHITE = 220  # a pixel is white, not tissue, above this grey level in every channel; ours
WHITE_MAX = 0.25  # images with a larger share of white pixels stay as they are; release
RAMP = np.float32(20)  # grey levels under WHITE within which tissue becomes glass; ours
STRIP = 32  # rows of an image that are moved at once, so that they stay in the processor's cache; ours
STD_MIN = 1.0  # so that the noise of a nearly uniform image is not blown up; ours

STANDARD_WHITE = 250.0  # grey level that white becomes, which it has about in the tiles behind the target; ours
BRIGHTEST = 99.5  # percentile of an image's pixels that is its white, so that specks of dust and light are not; ours
CLEAREST = 90.0  # percentile of the images' whites that is their scanner's: tissue fills most images; ours
DARKEST_WHITE = 140.0  # no scanner's white is darker: images of dense tissue alone; ours
TINT_MAX = 0.1  # a white has no channel that is by a larger share darker than its brightest; ours


def tissue(image):
    """Boolean map (h, w) of the pixels of a uint8 RGB image that are not white."""
    return image.min(axis=2) <= WHITE


def white_point(images):
    """The white of a scanner: the colour that its images have where there is glass.

    Many images are filled with tissue and show no glass, so white is what the brightest pixels of the clearest images
    have in each channel. Where no image shows glass, the brightest pixels are tissue, which is coloured: the more, the
    less of their tint is taken for that of the white, and of eosin, which is clear in red, only the brightness.

    Args:
        images: iterable of (h, w, 3) uint8 RGB of one scanner; one will do.

    Returns:
        (3,) float32 grey levels, 140 to 255.
    """
    return common_white([brightest(image) for image in images])


def brightest(image):
    """(3,) grey levels of the brightest pixels of a uint8 RGB image, after means over 2x2, so that noise is none."""
    half = [max(side // 2, 1) for side in image.shape[1::-1]]
    return np.percentile(cv2.resize(image, half, interpolation=cv2.INTER_AREA).reshape(-1, 3), BRIGHTEST, axis=0)


def common_white(brightest):
    """The white of images, (3,) float32, out of the `brightest` of each, (n, 3)."""
    white = np.maximum(np.percentile(brightest, CLEAREST, axis=0), DARKEST_WHITE)
    tint = 1 - white / white.max()
    tint = np.minimum(tint, np.maximum(2 * TINT_MAX - tint, 0))
    return (white.max() * (1 - tint)).astype(np.float32)


def balanced(image, white):
    """Image whose white is the standard one.

        I' = min(250 I / white, 255)

    Args:
        image: (h, w, 3) uint8 RGB.
        white: (3,) grey levels, what `white_point` found in images of the same scanner, or in this one.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    levels = np.arange(256, dtype=np.float32)[:, None] * (STANDARD_WHITE / np.asarray(white, np.float32))
    return cv2.LUT(image, np.minimum(np.rint(levels), 255).astype(np.uint8)[None])


def in_lab(image):
    """LAB of a uint8 RGB image, float32: L is 0 to 100."""
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def statistics(image):
    """LAB mean and standard deviation, (3,) float32 each, of the tissue of a uint8 RGB image; None without any."""
    inside = tissue(image)
    if not inside.any():
        return None
    pixels = in_lab(image)[inside]
    return pixels.mean(axis=0), np.maximum(pixels.std(axis=0), STD_MIN)


def moved(image, mean, std):
    """Image whose LAB mean and standard deviation become the target's.

    Args:
        image: (h, w, 3) uint8 RGB.
        mean: (3,) float32, what `statistics` found in the image, or in the slide that it is a part of.
        std: (3,) float32.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    lab = (in_lab(image) - mean) * (TARGET_STD / std) + TARGET_MEAN
    rgb = cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.clip(np.rint(255 * rgb), 0, 255).astype(np.uint8)


def moved_tissue(image, mean, std):
    """The same for a part of a slide: its glass stays as it is.

    An image of a slide may be glass for the most part, which `moved` would tint, and a network then finds nuclei on it
    (1.5 % of all, on one slide). Pixels change over from tissue to glass within `RAMP` grey levels.
    """
    result = np.empty_like(image)
    for top in range(0, len(image), STRIP):
        strip = image[top : top + STRIP]
        glass = np.clip((strip.min(axis=2) - (WHITE - RAMP)) / RAMP, 0, 1)[..., None]
        result[top : top + STRIP] = np.rint(moved(strip, mean, std) * (1 - glass) + strip * glass)
    return result


def reinhard(image):
    """Image whose tissue has the target's LAB means and standard deviations.

    Args:
        image: (h, w, 3) uint8 RGB.

    Returns:
        (h, w, 3) uint8 RGB. If over 25 % of the image is white, the image itself.

    Raises:
        ValueError: if the image is not uint8 RGB.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"Expected a uint8 RGB image. Received: {image.dtype} of shape {image.shape}.")
    if tissue(image).mean() < 1 - WHITE_MAX:
        return image
    return moved(image, *statistics(image))
