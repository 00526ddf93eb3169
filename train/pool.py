"""The image history of S+U learning: refined patches of earlier steps [Shrivastava 2017; release]."""

import tensorflow as tf

CHANNELS = {"image": 3, "reference": 3, "target": 1}


class Pool(tf.Module):
    """Refined patches with their references and truths, in uint8 variables that checkpoints carry.

    Until it is full, patches are appended; after that they overwrite random places.
    """

    def __init__(self, capacity, side):
        """Allocates an empty pool.

        Args:
            capacity: most patches kept.
            side: of a patch.
        """
        super().__init__()
        self.capacity = capacity
        self.size = tf.Variable(0, trainable=False, name="size")
        self.layers = {
            name: tf.Variable(tf.zeros((capacity, side, side, count), tf.uint8), trainable=False, name=name)
            for name, count in CHANNELS.items()
        }

    def put(self, patches, seed):
        """Keeps a few patches.

        Args:
            patches: dict of `image` and `reference` (n, s, s, 3) and `target` (n, s, s, 1), uint8; n of at most
                the capacity.
            seed: (2,) int32 seed of the random places.
        """
        count = tf.shape(patches["image"])[0]
        anywhere = tf.random.stateless_uniform((count,), seed, 0, self.capacity, tf.int32)
        next_ = self.size + tf.range(count)
        places = tf.where(next_ < self.capacity, next_, anywhere)[:, None]
        for name, layer in self.layers.items():
            layer.scatter_nd_update(places, patches[name])
        self.size.assign(tf.minimum(self.size + count, self.capacity))

    def draw(self, count, seed):
        """Random patches of the pool, which must not be empty.

        Args:
            count: how many.
            seed: (2,) int32.

        Returns:
            dict as `put` takes it.
        """
        places = tf.random.stateless_uniform((count,), seed, 0, tf.maximum(self.size, 1), tf.int32)
        return {name: tf.gather(layer, places) for name, layer in self.layers.items()}
