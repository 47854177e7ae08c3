"""Class outputs fitted to average precision itself: `python -m featherface_training.ranking --help`.

Training asks of each prior whether there is a face. What is measured is the order of one list, of the most
confident candidates that suppression leaves of all photos. The last two layers towards the class outputs are
small enough that this order can be climbed by gradient over all training photos at once, from what these
layers saw, which is computed once. Nothing else is trained, and the graph stays the same.
"""
