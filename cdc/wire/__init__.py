"""Bytes of replication: the connection, pgoutput's messages, acknowledgement. May import words and source."""
