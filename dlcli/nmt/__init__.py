"""The translator: subwords, network, search, training, attention, alignment, scoring."""
