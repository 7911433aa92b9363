"""Whole scenes: where tiles lie and how they blend, what is read, and what the result covers."""
