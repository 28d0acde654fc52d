"""What a file of `export` says beside its graph, which `load` reads there."""

PRODUCER = "cbackprop"
# What of the model file's texts goes along, under the same names.
TEXTS = ("cost", "init", "feature_names", "class_names", "metadata")
LARGEST_FILE = (1 << 31) - 1  # protobuf's own limit
