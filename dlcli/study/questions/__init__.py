"""The questions of the assignment, answered by measurement: what `dl report` walks through.

One module answers one question, or a few that are measured together; `catalogue.py` lists them
all. To add a question: write its `Question`, and name it in the catalogue. The cache, the page, its
table of contents and `--only` follow from there.
"""
