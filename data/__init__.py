"""Tile bank, embedded tissue, synthetic examples and the tf.data pipeline (code only, no images)."""
