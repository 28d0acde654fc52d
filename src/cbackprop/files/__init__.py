"""Model files, checkpoints and pickles: what is kept of a network, judged when it comes back."""
