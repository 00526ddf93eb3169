"""Training and its command lines: the only place with optimisers and callbacks."""
