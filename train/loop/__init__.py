"""The training loop: networks, steps, schedule, image history, importance weights, devices."""
