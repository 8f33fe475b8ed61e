"""Measurements of parts of this application, run by hand."""
