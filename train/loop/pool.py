"""The image history of S+U learning: refined patches of earlier steps [Shrivastava 2017; release]."""

import tensorflow as tf

CHANNELS = {"image": 3, "reference": 3, "target": 1}


class Pool(tf.Module):
    """Refined patches with their references and truths, in uint8 variables that checkpoints carry.

    Until it is full, patches are appended, the last of them from the front on; after that they overwrite random
    places.
    """

    def __init__(self, capacity, side):
        """Allocates an empty pool.

        Args:
            capacity: most patches kept.
            side: of a patch.
        """
        super().__init__()
        self.capacity = capacity
        # int64, as XLA on a GPU cannot reach int32 variables, which live on the host.
        self.size = tf.Variable(0, trainable=False, dtype=tf.int64, name="size")
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
        size = tf.cast(self.size, tf.int32)
        # Distinct places: of two patches at one place, one would be lost, and on a GPU their parts could mix.
        anywhere = tf.math.top_k(tf.random.stateless_uniform((self.capacity,), seed), count).indices
        following = (size + tf.range(count)) % self.capacity
        places = tf.where(size < self.capacity, following, anywhere)[:, None]
        for name, layer in self.layers.items():
            layer.scatter_nd_update(places, patches[name])
        self.size.assign(tf.cast(tf.minimum(size + count, self.capacity), tf.int64))

    def add(self, patches, seed):
        """Keeps a batch: the whole of it until the pool is full, its first half from then on [release].

        Args:
            patches: as for `put`.
            seed: as for `put`.
        """
        half = {name: tensor[: tensor.shape[0] // 2] for name, tensor in patches.items()}
        full = self.size >= self.capacity
        tf.cond(full, lambda: self.put(half, seed), lambda: self.put(patches, seed))

    def draw(self, count, seed):
        """Random patches of the pool, which must not be empty.

        Args:
            count: how many.
            seed: (2,) int32.

        Returns:
            dict as `put` takes it.
        """
        places = tf.random.stateless_uniform((count,), seed, 0, tf.maximum(tf.cast(self.size, tf.int32), 1), tf.int32)
        return {name: tf.gather(layer, places) for name, layer in self.layers.items()}
