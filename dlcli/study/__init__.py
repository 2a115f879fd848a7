"""Procedures that need several rooms: repeated trainings, grids, comparisons, evaluations."""
