"""A run: its folder, checkpoints, callbacks, kept state, self-training; runs on labelled images."""
