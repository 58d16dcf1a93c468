"""TLS, passwords and rights: over verify-full and SASL_SSL, clear errors where trust is missing, no secret shown."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import trustme
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub forgets to export them
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from psycopg import sql

from cdc.log.kafka import KafkaPublisher
from cdc.refusal import BrokerRefused, asking
from sink.reader import KafkaReader
from tests.pipeline import FILE, NARROW, ROWS, Pipeline, until
from tests.waiting import PATIENCE
from widebeam.check.kafka import broker_findings
from widebeam.config import config
from widebeam.config.connector import Connector
from widebeam.demo.history import load
from widebeam.lab.account import new_directory
from widebeam.lab.kafka import KafkaBroker, tool
from widebeam.lab.postgres import QUICK, PostgresServer
from widebeam.lab.process import ServerFailed

SOURCE, TARGET, KAFKA = (f"{word}-{uuid4().hex}" for word in ("hush", "quiet", "whisper"))
"""The passwords, which must never be seen."""

SCRAM = {
    "ssl.keystore.type": "PEM",
    "listener.name.sasl_ssl.sasl.enabled.mechanisms": "SCRAM-SHA-512",
    "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config":
        "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",  # the administrator of the tests, without TLS
    "allow.everyone.if.no.acl.found": "true",
}  # fmt: skip


@dataclass
class Secured:
    """A PostgreSQL and a Kafka that only talk by TLS to anybody but their superusers, and two authorities."""

    postgres: PostgresServer
    kafka: KafkaBroker
    ca: Path
    stranger: Path

    def client(self, **more: str) -> dict[str, str]:
        """librdkafka's settings, with the right password and authority unless `more` says otherwise."""
        return {
            "bootstrap.servers": f"127.0.0.1:{self.kafka.secure_port}",
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "app",
            "sasl.password": KAFKA,
            "ssl.ca.location": str(self.ca),
            "log_level": "0",
            **{name.replace("_", "."): value for name, value in more.items()},
        }


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    folder = new_directory("wb-test-")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "stranger.pem")
    certificate = ca.issue_cert("127.0.0.1")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        try:
            server = postgres(folder / "pg", certificate, stack)
        except ServerFailed as error:
            pytest.skip(f"no PostgreSQL with TLS: {error}")
        broker = kafka(folder / "kafka", certificate, stack)
        yield Secured(server, broker, folder / "ca.pem", folder / "stranger.pem")


def postgres(directory: Path, certificate: trustme.LeafCert, stack: ExitStack) -> PostgresServer:
    directory.mkdir()
    key = directory / "server.key"
    key.touch(mode=0o600)
    certificate.private_key_pem.write_to_path(key, append=True)
    certificate.cert_chain_pems[0].write_to_path(directory / "server.pem")
    files = {"ssl": "on", "ssl_cert_file": str(directory / "server.pem"), "ssl_key_file": str(key)}
    # The wheel's server is built without TLS; the older ones that can be fetched have it.
    server = PostgresServer.start(directory, settings={**QUICK, **files, "log_connections": "on"}, version=17)
    stack.callback(server.stop, "immediate")
    (directory / "data" / "pg_hba.conf").write_text(
        "host all postgres 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
    )
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute("SELECT pg_reload_conf()")
        for role, password in (("app_source", SOURCE), ("app_target", TARGET)):
            admin.execute(sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}").format(sql.Identifier(role), password))
        admin.execute("CREATE DATABASE test_tls_pipeline")
    return server


def kafka(directory: Path, certificate: trustme.LeafCert, stack: ExitStack) -> KafkaBroker:
    directory.mkdir()
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    store = directory / "server.pem"
    store.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate.cert_chain_pems[0].write_to_path(store, append=True)
    broker = KafkaBroker.start(directory, settings={**SCRAM, "ssl.keystore.location": str(store)}, secured=True)
    stack.callback(broker.kill)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    for done in admin.alter_user_scram_credentials([UserScramCredentialUpsertion("app", how, KAFKA.encode())]).values():
        done.result(timeout=30)
    return broker


def plant(secured: Secured, folder: Path, ca: Path, host: str = "127.0.0.1") -> tuple[Pipeline, dict[str, str]]:
    """A connector whose secrets are in a file and in the environment, and that environment."""
    shown = {name: value for name, value in secured.client(ssl_ca_location=str(ca)).items() if "password" not in name}
    more = f"client = {{ {', '.join(f'{json.dumps(name)} = {json.dumps(value)}' for name, value in shown.items())} }}\n"
    dsn = secured.postgres.dsn("test_tls_pipeline")
    section = f'[kafka]\nbootstrap_servers = "{shown["bootstrap.servers"]}"\ntopic = "tls"\npartitions = 4\n{more}'
    history = load(dsn, ROWS) if ca == secured.ca and host == "127.0.0.1" else None
    pipeline = Pipeline(folder / "tls.toml", dsn, history, shown["bootstrap.servers"], "tls")
    (folder / "password").write_text(TARGET + "\n")
    trust = f"host={host} port={secured.postgres.port} dbname=test_tls_pipeline sslmode=verify-full sslrootcert={ca}"
    text = FILE.format(dsn=dsn, kafka=section).replace(f'dsn = "{dsn}"', f'dsn = "{trust} user=app_source"', 1)
    target = f'dsn = "{trust} user=app_target"\npassword_file = "{folder / "password"}"'
    pipeline.file.write_text(text.replace(f'dsn = "{dsn}"', target, 1))
    place = f"{host}:{secured.postgres.port}/test_tls_pipeline?sslmode=verify-full&sslrootcert={ca}"
    return pipeline, {
        "WIDEBEAM_SOURCE__DSN": f"postgresql://app_source:{SOURCE}@{place}",
        "WIDEBEAM_KAFKA__CLIENT": json.dumps({"sasl.password": KAFKA}),
    }


def say(pipeline: Pipeline, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "widebeam", *arguments[0].split(), str(pipeline.file), *arguments[1:]],
        capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **environment},
    )  # fmt: skip


def secrets_in(*texts: str) -> list[str]:
    return [name for name, secret in (("source", SOURCE), ("target", TARGET), ("kafka", KAFKA))
            if any(secret in text for text in texts)]  # fmt: skip


def test_the_pipeline_runs_over_tls_and_shows_no_secret_anywhere(
    secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, environment = plant(secured, tmp_path, secured.ca)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    bad = sql.SQL("UPDATE {0} SET value_format = 'Nonsense' WHERE ctid IN (SELECT ctid FROM {0} LIMIT 3)").format(
        NARROW
    )
    with psycopg.connect(pipeline.dsn, autocommit=True) as admin, pipeline.start("--debug", "run") as run:
        until(lambda: pipeline.one("SELECT to_regclass('widebeam.connectors') IS NOT NULL"))
        until(lambda: pipeline.one("SELECT converged_at IS NOT NULL FROM widebeam.connectors"))
        admin.execute(bad)
        until(lambda: pipeline.one("SELECT count(*) FROM widebeam.quarantine"))
        sessions = admin.execute(
            "SELECT usename::text, bool_and(ssl), string_agg(a::text, ' ') FROM pg_stat_activity a JOIN pg_stat_ssl "
            "USING (pid) WHERE usename LIKE 'app%' GROUP BY usename ORDER BY usename"
        ).fetchall()
        assert [(role, safe) for role, safe, _ in sessions] == [("app_source", True), ("app_target", True)]
        processes = [" ".join(each.cmdline()) for each in [run, *run.children(recursive=True)]]
        assert len(processes) >= 3
        status = say(pipeline, environment, "status", "--json")
        assert status.returncode == 0, status.stderr
        run.terminate()
        assert run.wait(PATIENCE) == 0, pipeline.said()
    pipeline.prove()
    said = [status.stdout, status.stderr]
    for verb in (["replay", "--from-offset", "0", "--yes"], ["verify"], ["quarantine list"]):
        done = say(pipeline, environment, *verb)
        said += [done.stdout, done.stderr]
    state = dumped(pipeline)
    done = say(pipeline, environment, "drop", "--yes", "--keep-audit")
    assert done.returncode == 0, done.stderr
    said += [done.stdout, done.stderr]
    logs = [pipeline.file.with_suffix(".log").read_text(), secured.postgres.log.read_text(errors="replace")]
    assert secrets_in(*said, *logs, state, dumped(pipeline), *processes, *(text for *_, text in sessions)) == []
    assert "Nonsense" in state, "the quarantine was looked into"
    assert "replay" in state, "the audit was looked into"


def dumped(pipeline: Pipeline) -> str:
    """All of our state, as text."""
    with psycopg.connect(pipeline.dsn) as session:
        tables = session.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'widebeam'").fetchall()
        query = sql.SQL("SELECT coalesce(string_agg(t::text, ' '), '') FROM {} t")
        return " ".join(
            session.execute(query.format(sql.Identifier("widebeam", table))).fetchone()[0] for (table,) in tables
        )


@pytest.mark.parametrize("what", ["authority", "host"])
def test_a_server_that_cannot_be_trusted_is_one_clear_line_a_side(what: str, secured: Secured, tmp_path: Path) -> None:
    if what == "authority":
        words, place = "certificate verify failed", {"ca": secured.stranger}
    else:
        words, place = "does not match host name", {"ca": secured.ca, "host": "localhost"}
    pipeline, environment = plant(secured, tmp_path, **place)
    text = pipeline.file.read_text()
    pipeline.file.write_text(text.split("[kafka]")[0])
    environment.pop("WIDEBEAM_KAFKA__CLIENT")
    done = say(pipeline, environment, "run")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if words in line]
    assert [line.strip().split()[1] for line in lines] == ["source", "target"]
    assert "Traceback" not in done.stderr
    assert secrets_in(done.stdout, done.stderr) == []


@pytest.mark.parametrize("what", ["password", "authority"])
def test_brokers_that_refuse_us_are_one_clear_error_and_not_an_endless_retry(what: str, secured: Secured) -> None:
    if what == "password":
        client, words = secured.client(sasl_password="guess"), "invalid credentials"
    else:
        client, words = secured.client(ssl_ca_location=str(secured.stranger)), "certificate verify failed"
    with pytest.raises(BrokerRefused, match=words) as refused, asking(client) as admin:
        admin.list_topics(timeout=3)
    assert "guess" not in str(refused.value)
    assert "(after" not in str(refused.value), "the same cause has the same words, so that a supervisor can count it"
    reader = KafkaReader(client, "any", f"group.{uuid4().hex}", assignment=None)
    try:
        with pytest.raises(BrokerRefused, match=words):
            until(lambda: reader.poll(1, 0.1))
    finally:
        reader.close()
    publisher = KafkaPublisher(client, "any", 1)
    try:
        publisher.publish(0, b"k", b"v", 1)
        with pytest.raises(BrokerRefused, match=words):
            until(lambda: publisher.delivered(0.1))
    finally:
        publisher.close()


def rule(secured: Secured, kind: ResourceType, name: str, who: str, operation: AclOperation, *, deny: bool) -> None:
    """As an administrator gives or takes a right."""
    permission = AclPermissionType.DENY if deny else AclPermissionType.ALLOW
    binding = AclBinding(kind, name, ResourcePatternType.LITERAL, who, "*", operation, permission)
    with asking({"bootstrap.servers": secured.kafka.bootstrap}) as admin:
        for done in admin.create_acls([binding]).values():
            done.result(timeout=30)


def named(secured: Secured, folder: Path) -> Connector:
    """A connector whose name is its topic's and its group's, of which only Kafka is there."""
    file = folder / f"rights_{uuid4().hex[:8]}.toml"
    given = ", ".join(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in secured.client().items()
                      if name.startswith(("sasl.u", "sasl.m", "security", "ssl")))  # fmt: skip
    section = f'[kafka]\nbootstrap_servers = "127.0.0.1:{secured.kafka.secure_port}"\npartitions = 1\n'
    file.write_text(FILE.format(dsn="host=127.0.0.1 port=1", kafka=f"{section}client = {{ {given} }}\n"))
    connector = config.load(str(file), {"WIDEBEAM_KAFKA__CLIENT": json.dumps({"sasl.password": KAFKA})})
    topic = NewTopic(connector.topic, 1, 1, config={"max.message.bytes": str(16 * 2**20)})
    with asking({"bootstrap.servers": secured.kafka.bootstrap}) as admin:
        admin.create_topics([topic])[connector.topic].result(timeout=30)
    return connector


def test_rights_that_topic_and_group_lack_are_named_by_check_and_given_as_it_is_printed(
    secured: Secured, tmp_path: Path
) -> None:
    connector = named(secured, tmp_path)
    assert until(lambda: list(broker_findings(connector)) == [])
    for kind, name in ((ResourceType.TOPIC, connector.topic), (ResourceType.GROUP, connector.group)):
        rule(secured, kind, name, "User:another", AclOperation.ALL, deny=False)  # and so nobody else's
    found = until(lambda: len(said := list(broker_findings(connector))) == 2 and said)
    assert [each.what for each in found] == [
        f"the right to Read, Write, DescribeConfigs on the topic {connector.topic} is missing",
        f"the right to Read on the group {connector.group} is missing",
    ]
    for each in found:
        script, *arguments = shlex.split(each.remedy.partition(" -- ")[0])
        assert script == "kafka-acls.sh" and "User:app" in arguments
        as_administrator = [secured.kafka.bootstrap if ":" in one and one[0].isdigit() else one for one in arguments]
        done = subprocess.run(
            tool("org.apache.kafka.tools.AclCommand", *as_administrator), capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert until(lambda: list(broker_findings(connector)) == [])


def test_one_right_that_is_denied_is_the_one_that_is_named(secured: Secured, tmp_path: Path) -> None:
    connector = named(secured, tmp_path)
    rule(secured, ResourceType.TOPIC, connector.topic, "User:*", AclOperation.ALL, deny=False)
    rule(secured, ResourceType.TOPIC, connector.topic, "User:app", AclOperation.WRITE, deny=True)
    (finding,) = until(lambda: list(broker_findings(connector)))
    assert f"the right to Write on the topic {connector.topic} is missing" in finding.what
