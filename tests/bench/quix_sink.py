"""Run by the peer's own environment: Quix Streams reads readings from a topic and upserts them into one wide table.

python quix_sink.py BROKER TOPIC PORT DATABASE
"""

import sys

from quixstreams import Application
from quixstreams.sinks.community.postgresql import PostgreSQLSink


def main(broker: str, topic: str, port: str, database: str) -> None:
    application = Application(broker_address=broker, consumer_group=topic, auto_offset_reset="earliest")
    sink = PostgreSQLSink(
        host="127.0.0.1",
        port=int(port),
        dbname=database,
        user="postgres",
        password="none",
        table_name="quix",
        primary_key_columns=["ship_id", "created_time"],
        upsert_on_primary_key=True,
        include_metadata=False,
    )
    application.dataframe(application.topic(topic, value_deserializer="json")).sink(sink)
    application.run()


main(*sys.argv[1:])
