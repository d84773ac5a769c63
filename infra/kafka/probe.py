#!/usr/bin/env python3
"""Does a Kafka broker answer? Asks for the API versions and the brokers, over plaintext, with nothing but the
standard library: a JVM takes a second to ask the same.

probe.py [--node ID] [--brokers N] HOST:PORT[,HOST:PORT...]
    exit 0 when every address answers, knows of N brokers or more and, with --node, of broker ID; else 1, saying why
"""
import argparse
import socket
import struct
import sys


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, layout):
        value = struct.unpack_from(layout, self.data, self.at)[0]
        self.at += struct.calcsize(layout)
        return value

    def string(self):
        length = self.take(">h")
        self.at += max(length, 0)


def exactly(peer, count):
    data = b""
    while len(data) < count:
        part = peer.recv(count - len(data))
        if not part:
            raise ConnectionError("closed the connection")
        data += part
    return data


def ask(peer, key, version, body):
    client = b"probe"
    request = struct.pack(">hhih", key, version, 1, len(client)) + client + body
    peer.sendall(struct.pack(">i", len(request)) + request)
    size = struct.unpack(">i", exactly(peer, 4))[0]
    if not 4 <= size <= 1 << 20:
        raise ValueError("does not speak plaintext Kafka")
    answer = Reader(exactly(peer, size))
    if answer.take(">i") != 1:
        raise ValueError("answered another request")
    return answer


def brokers(host, port):
    with socket.create_connection((host, port), 1) as peer:
        peer.settimeout(2)
        error = ask(peer, 18, 0, b"").take(">h")
        if error:
            raise ValueError(f"refuses ApiVersions with error {error}")
        answer = ask(peer, 3, 1, struct.pack(">i", 0))  # Metadata, of no topic
        found = set()
        for _ in range(answer.take(">i")):
            found.add(answer.take(">i"))
            answer.string()
            answer.take(">i")
            answer.string()
        return found


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--node", type=int)
    options.add_argument("--brokers", type=int, default=1)
    options.add_argument("servers")
    options = options.parse_args()
    for server in options.servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            found = brokers(host.strip("[]"), int(port))
        except (OSError, ValueError, struct.error) as error:
            sys.exit(f"{server}: {error}")
        if len(found) < options.brokers or (options.node or next(iter(found))) not in found:
            sys.exit(f"{server}: knows of brokers {sorted(found)} only")


main()
