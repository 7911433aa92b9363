"""Results in, one self-contained page out; nothing here computes a score.

Import order: wording, published, reading <-- views <-- figures, tables, galleries <-- sections
<-- page. `page.write_report` is the face; importing it loads neither torch nor pyplot.
"""
