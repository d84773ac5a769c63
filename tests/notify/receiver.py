"""Who gets notices: a mail server that wants STARTTLS and a login, and an endpoint for webhooks.

Reads {certificate, key, user, password, secret, out} as JSON from a file, prints the ports as JSON, and appends each
notice to `out`, a line of JSON each, until its input ends.
"""

import email
import email.policy
import hashlib
import hmac
import http.server
import json
import ssl
import sys
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

facts = json.load(open(sys.argv[1]))
lock = threading.Lock()


def note(what):
    with lock, open(facts["out"], "a") as out:
        out.write(json.dumps(what) + "\n")


class Mailbox:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        note({
            "channel": "mail", "from": envelope.mail_from, "to": envelope.rcpt_tos, "subject": message["Subject"],
            "text": message.get_content(), "login": session.auth_data.login.decode(), "tls": session.ssl is not None,
        })
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    known = isinstance(data, LoginPassword) and (data.login.decode(), data.password.decode()) == (
        facts["user"], facts["password"])
    return AuthResult(success=known, auth_data=data if known else None, handled=False)


class Endpoint(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        tag = "sha256=" + hmac.new(facts["secret"].encode(), body, hashlib.sha256).hexdigest()
        signed = hmac.compare_digest(tag, self.headers.get("X-Forestsync-Signature", ""))
        note({"channel": "webhook", "path": self.path, "signed": signed, "notice": json.loads(body)})
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(facts["certificate"], facts["key"])


class Server(Controller):
    def factory(self):
        return SMTP(
            self.handler, tls_context=context, require_starttls=True, auth_required=True, authenticator=authenticate)


def free_port():
    import socket
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


mail = Server(Mailbox(), hostname="127.0.0.1", port=free_port())
mail.start()
hook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
threading.Thread(target=hook.serve_forever, daemon=True).start()
print(json.dumps({"mail": mail.port, "webhook": hook.server_port}), flush=True)
sys.stdin.read()
mail.stop()
