"""Compiled parts of collection: `lines` reads the plain lines of a CSV file."""
