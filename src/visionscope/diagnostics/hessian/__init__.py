"""The largest curvatures of the loss, mini-batch by mini-batch."""
