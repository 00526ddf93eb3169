"""The page of `train.page`: a small server, and the one document that it serves."""
