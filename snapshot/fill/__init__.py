"""One chunk: read by COPY, folded, and merged by rule M. May import chunks, sink and cdc."""
