"""Training and its command lines: the only place with optimisers and callbacks."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's own notes would bury the progress bars
