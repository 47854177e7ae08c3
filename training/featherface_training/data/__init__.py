"""WIDER FACE reading, packing and augmentation."""
