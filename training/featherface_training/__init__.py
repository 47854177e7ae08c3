"""Training, evaluation and export of the FeatherFace models. Importing this package does not import torch."""
