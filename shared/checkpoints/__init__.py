"""Files of weights: ours, other people's, those that ship, and how one becomes another."""
