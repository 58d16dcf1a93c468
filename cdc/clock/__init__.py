"""Times beside their columns: zones, buckets of time, and times in texts. May import nothing of ours."""
