"""Widebeam: narrow PostgreSQL tables become wide ones, live. This package holds the command."""

__version__ = "0.1.0"
