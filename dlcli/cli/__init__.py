"""The command line: parse, configure, make one call, show. No tensor, no loop, no torch."""
