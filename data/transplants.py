"""Labelled nuclei moved beside others, so that patches show real nuclei in contact whose border is known [ours].

Copy-paste augmentation [Ghiasi et al. 2021], aimed at contact: among the nuclei that a network labels for itself few
touch, as those that it cannot tell apart are left out, and painted ones do not look like real ones.
"""

import cv2
import numpy as np

PROBABILITY = 0.7  # of a patch that receives nuclei
OVERLAP = 0.2  # largest covered share of the smaller of two nuclei
COVERED = 0.1  # largest share of a moved nucleus that lies on nuclei other than its neighbour
DISTANCE = -4.0, 3.0  # least distance of a moved nucleus from its neighbour, in pixels; below 0 they may overlap
FARTHEST = 80  # centres are at most this far apart, in pixels
RIM = 2  # at most so many pixels around a nucleus are moved with it
BOX_MIN = 80  # nuclei whose bounding box has fewer pixels are not moved
SOFTNESS = 0.5, 1.0  # Gaussian of the blending mask, in pixels
SQUARE = np.ones((3, 3), np.uint8)


def crowded(random, image, nuclei, further, others, most):
    """Moves nuclei of one patch beside nuclei of another.

    Args:
        random: `numpy.random.Generator`.
        image: (s, s, 3) uint8 RGB, the patch that receives nuclei.
        nuclei: (s, s) int32 ids from 1; 0 and below is no nucleus.
        further: (t, t, 3) uint8 RGB, the patch that gives them.
        others: (t, t) int32, its ids.
        most: nuclei to move, at most; each is tried once.

    Returns:
        The patch and its ids; moved nuclei have new ones.
    """
    given = whole(others)
    if not given or nuclei.max() < 1:
        return image, nuclei
    image, nuclei = image.copy(), nuclei.copy()
    for _ in range(int(random.integers(1, most + 1))):
        number, box = given[int(random.integers(len(given)))]
        mask = (others[box] == number).view(np.uint8)
        window = beside(random, nuclei, mask)
        if window is not None:
            put(random, image[window], nuclei[window], further[box], mask, int(nuclei.max()) + 1)
    return image, nuclei


def whole(labels):
    """Ids of the nuclei that lie wholly inside of a patch, with boxes `RIM` and one more pixel around them."""
    found = []
    for number in np.unique(labels[labels > 0]).tolist():
        x, y, width, height = cv2.boundingRect((labels == number).view(np.uint8))
        left, top, right, bottom = x - RIM - 1, y - RIM - 1, x + width + RIM + 1, y + height + RIM + 1
        if width * height >= BOX_MIN and min(left, top) >= 0 and max(right, bottom) <= len(labels):
            found.append((number, np.s_[top:bottom, left:right]))
    return found


def beside(random, nuclei, mask):
    """Where a nucleus comes to lie when it leaves the middle of a random other one in a random direction.

    Args:
        random: `numpy.random.Generator`.
        nuclei: (s, s) int32 ids, of which at least one is a nucleus.
        mask: (h, w) uint8, 1 in the nucleus.

    Returns:
        Pair of slices of `nuclei`; None if there is no room inside of the patch.
    """
    hosts = np.unique(nuclei[nuclei > 0])
    host = (nuclei == hosts[int(random.integers(len(hosts)))]).view(np.uint8)
    angle, distance = random.uniform(0, 2 * np.pi), random.uniform(*DISTANCE)
    direction = np.array([np.sin(angle), np.cos(angle)])
    start = np.argwhere(host).mean(0) - np.array(mask.shape) / 2
    outside = cv2.distanceTransform(1 - host, cv2.DIST_L2, 3)
    area = int(mask.sum())
    most = OVERLAP * min(area, int(host.sum()))
    for reach in range(2, FARTHEST):
        top, left = np.rint(start + reach * direction).astype(int)
        below, right = top + mask.shape[0], left + mask.shape[1]
        if min(top, left) < 0 or max(below, right) > len(nuclei):
            return None
        window = np.s_[top:below, left:right]
        shared = int((mask & host[window]).sum())
        if shared <= most and (distance <= 0 or outside[window][mask > 0].min() >= distance):
            covered = int((nuclei[window][mask > 0] > 0).sum())
            return window if covered - shared <= COVERED * area else None
    return None


def put(random, image, nuclei, crop, mask, number):
    """Blends a nucleus into a window of a patch, in place: I = A M + B (1 - M) [paper].

    Half of the nuclei let those under them show through, the darker of both in each pixel; and half of them, drawn
    anew, leave the pixels that they share to them.

    Args:
        random: `numpy.random.Generator`.
        image: (h, w, 3) uint8 view.
        nuclei: (h, w) int32 view.
        crop: (h, w, 3) uint8, the nucleus and its surroundings.
        mask: (h, w) uint8, 1 in the nucleus.
        number: its new id.
    """
    wide = cv2.dilate(mask, SQUARE, iterations=int(random.integers(RIM + 1)))
    wide[(nuclei > 0) & (mask == 0)] = 0
    soft = cv2.GaussianBlur(wide.astype(np.float32), (0, 0), random.uniform(*SOFTNESS))[..., None]
    own, over = mask > 0, (nuclei > 0) & (mask > 0)
    if random.random() < 0.5:
        crop = np.where(over[..., None], np.minimum(crop, image), crop)
    image[...] = np.rint(soft * crop + (1 - soft) * image).astype(np.uint8)
    if random.random() < 0.5:
        own = own & ~over
    nuclei[own] = number
