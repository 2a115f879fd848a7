"""Named data sets: where they come from, how they are checked, tensors and sentences out."""
