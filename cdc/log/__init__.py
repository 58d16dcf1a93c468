"""The log that carries records: the transport protocols, Kafka, and memory. May import cdc's words."""
