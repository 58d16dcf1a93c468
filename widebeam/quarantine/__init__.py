"""What lies in quarantine, and how it gets out of there: placed after the mapping was mended, or discarded."""
