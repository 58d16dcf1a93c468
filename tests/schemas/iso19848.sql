-- Time series of ISO 19848: ships and the local identifiers of their channels, as the standard writes the names.
CREATE TABLE "TimeSeriesData" (
    "ShipID"        text NOT NULL,
    "DataChannelID" text NOT NULL,
    "TimeStamp"     timestamptz NOT NULL,
    "Decimal"       double precision,
    "Integer"       bigint,
    "Boolean"       boolean,
    "String"        text,
    "Quality"       text,
    PRIMARY KEY ("ShipID", "DataChannelID", "TimeStamp")
);
CREATE INDEX ON "TimeSeriesData" ("TimeStamp");
