"""Scenes in, a split sample table out; and from the table the arrays that learning reads."""
