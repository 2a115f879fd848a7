"""`dl report`: the assignment's questions, asked and answered with the chapters."""
