"""Results and events in, words and pictures out: consoles, tables, plots, progress, JSON."""
