"""Results in, one self-contained page out; nothing here computes a score.

Import order: wording, published, views, vector <-- reading, drawing, pictures <-- figures, tables,
galleries <-- sections <-- twins <-- page. `page.write_report` is the face; importing it loads
neither torch nor pyplot.
"""
