"""A run as a served model: signatures, warm-up, card, ONNX."""
