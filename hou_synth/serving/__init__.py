"""A network that TensorFlow Serving runs: REST, gRPC, what is tried again, what can go wrong."""
