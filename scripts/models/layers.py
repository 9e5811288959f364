"""The names of a trunk's parts. It needs no package, so that clients without torchvision can read it."""

LAYERS = {4: "layer1", 8: "layer2", 16: "layer3", 32: "layer4"}
"""Name of the part of a trunk that ends at each reduction of the image's resolution."""
