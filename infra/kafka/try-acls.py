#!/usr/bin/env python3
"""Tries on a real Kafka what the rights of `acls` allow and what they do not, as each of the principals.

The client is librdkafka, as in the services: transactional producers whose id is the stream's name, read_committed
readers, members of groups, creation of topics, a look at their settings. What is expected stands in
MAY below in its own words, not in those of `acls`.

usage: try-acls.py PLAIN BOOTSTRAP CA USERS
       PLAIN: a listener where all is allowed, to make the topics; USERS: a folder with NAME.password for each principal
Needs the Python package confluent-kafka. Exit code 1 if anything is allowed that must not be, or the other way round.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

STREAMS = [
    "changes.emea.emea.example", "changes.apac.apac.example", "changes.emea-2.two.example",
    "control.group", "desired.group", "decisions.group", "outcomes.group", "tenant.group",
    "control.other", "desired.other", "outcomes.other", "tenant.other", "other.emea",
]
GROUPS = ["collector.emea", "collector.apac", "projector", "provisioner", "forestsync"]
READERS = "forestsync"  # the group that readers name and nobody joins

CHANGES = STREAMS[:3]
# principal: streams it reads, streams it writes and may make, groups it may join
MAY = {
    "collector-emea": (["changes.emea.emea.example"], ["changes.emea.emea.example"], ["collector.emea"]),
    "collector-apac": (["changes.apac.apac.example"], ["changes.apac.apac.example"], ["collector.apac"]),
    "projector": (
        [*CHANGES, "control.group", "control.other", "desired.group", "desired.other", "decisions.group",
         "tenant.group", "tenant.other"],
        ["desired.group", "desired.other", "decisions.group"], ["projector"],
    ),
    "provisioner": (
        ["control.group", "desired.group", "outcomes.group", "tenant.group"], ["outcomes.group", "tenant.group"],
        ["provisioner"],
    ),
    "forestsync": (STREAMS[:-1], ["control.group", "control.other"], []),
}

DENIED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
DEADLINE = 20  # seconds for one attempt


def allowed(attempt):
    """Whether an attempt went well; an error that says nothing about rights is raised."""
    try:
        attempt()
        return True
    except KafkaException as error:
        if error.args[0].code() in DENIED:
            return False
        raise


class Principal:
    def __init__(self, name, bootstrap, ca, users):
        self.config = {
            "bootstrap.servers": bootstrap,
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": ca,
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": name,
            "sasl.password": (Path(users) / f"{name}.password").read_text(),
        }
        self.admin = AdminClient({**self.config})

    def create(self, stream):
        topic = NewTopic(stream, num_partitions=1, replication_factor=-1)
        # only asked for: rights are looked at first, and an existing topic is no error of rights
        future = self.admin.create_topics([topic], validate_only=True, request_timeout=DEADLINE)[stream]
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise

    def settings(self, stream):
        resource = ConfigResource(ConfigResource.Type.TOPIC, stream)
        self.admin.describe_configs([resource], request_timeout=DEADLINE)[resource].result()

    def write(self, stream, transactional_id):
        producer = Producer({**self.config, "transactional.id": transactional_id, "enable.idempotence": True})
        producer.init_transactions(DEADLINE)
        producer.begin_transaction()
        said = []
        producer.produce(stream, b"{}", on_delivery=lambda error, _: said.append(error))
        try:
            # the record is refused with its topic, or purged with its transaction: then committing says why
            producer.flush(DEADLINE)
            if said and said[0] and said[0].code() in DENIED:
                raise KafkaException(said[0])
            producer.commit_transaction(DEADLINE)
        except KafkaException as error:
            try:
                producer.abort_transaction(DEADLINE)
            except KafkaException:
                pass  # the broker knows of no transaction where its only partition was refused
            raise error

    def read(self, stream):
        # a reader that names a group looks for its coordinator although it never joins: it needs the right to
        consumer = Consumer({
            **self.config, "group.id": READERS, "enable.auto.commit": False, "enable.auto.offset.store": False,
            "isolation.level": "read_committed", "enable.partition.eof": True,
        })
        try:
            # of a stream it may not see, a reader that only waits hears nothing at all
            error = consumer.list_topics(stream, timeout=DEADLINE).topics[stream].error
            if error:
                raise KafkaException(error)
            consumer.assign([TopicPartition(stream, 0, 0)])
            self.until(consumer, lambda message: message is not None)
        finally:
            consumer.close()

    def join(self, group, stream):
        given = []
        consumer = Consumer({**self.config, "group.id": group, "enable.auto.commit": False})
        consumer.subscribe([stream], on_assign=lambda _, partitions: given.append(partitions))
        try:
            self.until(consumer, lambda _: bool(given))
        finally:
            consumer.close()

    @staticmethod
    def until(consumer, good):
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            message = consumer.poll(0.2)
            if message is not None and message.error() and message.error().code() != KafkaError._PARTITION_EOF:
                if message.error().retriable():
                    continue
                raise KafkaException(message.error())
            if good(message):
                return
        raise TimeoutError(f"nothing heard within {DEADLINE} s")


def main():
    plain, bootstrap, ca, users = sys.argv[1:]
    topics = [NewTopic(stream, num_partitions=1, replication_factor=-1) for stream in STREAMS]
    admin = AdminClient({"bootstrap.servers": plain})
    for future in admin.create_topics(topics).values():
        future.result()
    checks, wrong = 0, []

    def expect(name, what, expected, attempt):
        nonlocal checks
        checks += 1
        try:
            may = allowed(attempt)
        except (KafkaException, TimeoutError) as error:
            wrong.append(f"{name} cannot be tried: {what}: {error}")
            return
        if may != expected:
            wrong.append(f"{name} {'may not' if expected else 'may'} {what}")

    def try_all(name):
        reads, writes, groups = MAY[name]
        me = Principal(name, bootstrap, ca, users)
        for stream in STREAMS:
            expect(name, f"make {stream}", stream in writes, lambda: me.create(stream))
            expect(name, f"see the settings of {stream}", stream in reads, lambda: me.settings(stream))
            expect(name, f"read {stream}", stream in reads, lambda: me.read(stream))
            expect(name, f"write {stream}", stream in writes, lambda: me.write(stream, stream))
            # with a transactional id that is its own it must not get any further
            expect(name, f"write {stream} by the id of {writes[0]}", stream in writes, lambda: me.write(stream, writes[0]))
        for group in GROUPS:
            expect(name, f"join {group}", group in groups, lambda: me.join(group, reads[0]))
        seen = name == "forestsync"
        for group in GROUPS:
            look = lambda: me.admin.describe_consumer_groups([group], request_timeout=DEADLINE)[group].result()
            expect(name, f"look at {group}", seen or group in [*groups, READERS], look)

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(try_all, name) for name in MAY]:
            done.result()
    for line in wrong:
        print(f"acls: {line}", file=sys.stderr)
    print(f"acls: {checks} rights tried as {len(MAY)} principals, {len(wrong)} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
