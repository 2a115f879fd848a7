"""`dl report`: the assignment's questions, answered with the chapters."""
