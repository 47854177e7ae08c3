"""Class heads fitted to average precision itself: `python -m featherface_training.ranking --help`.

Training asks of each prior whether there is a face. What is measured is the order of one list, of the most
confident candidates that suppression leaves of all photos. The last layer of the class heads is linear in
what it sees, so that this order can be climbed by gradient, over all training photos at once and within a
minute, from features that are computed once. Nothing else is trained, and the graph stays the same.
"""
