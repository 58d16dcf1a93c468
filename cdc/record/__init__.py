"""From events to change records and their bytes, one wide key in one transaction. May import cdc's words and source."""
