# SPDX-License-Identifier: Apache-2.0
"""A controller that answers from a table, for tests of dilosctl. It keeps what it was asked."""
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.environ['DILOS_SOURCE'], 'deploy'))
from lab import wire  # noqa: E402  pylint: disable=wrong-import-position

SCHEMA = wire.Schema(os.path.join(os.environ['DILOS_SOURCE'], 'proto', 'dilos.proto'))

# Message type -> (body of the request, body of the reply).
BODIES = {
    'STATUS': ('Empty', 'Status'), 'NODE_LIST': ('Empty', 'NodeList'),
    'NODE_INSPECT': ('NameRef', 'NodeInfo'), 'SLAB_LIST': ('SlabFilter', 'SlabList'),
    'SLAB_INSPECT': ('SlabRef', 'SlabInfo'), 'LAUNCH': ('Launch', 'InstanceInfo'),
    'INSTANCE_LIST': ('Empty', 'InstanceList'), 'INSTANCE_INSPECT': ('NameRef', 'InstanceInfo'),
    'LOG_READ': ('LogRead', 'LogChunk'), 'STOP': ('Stop', 'InstanceInfo'),
    'WAIT': ('Wait', 'InstanceInfo'), 'IMAGE_BUILD': ('ImageBuild', 'ImageInfo'),
    'IMAGE_LIST': ('Empty', 'ImageList'), 'EVENT_LIST': ('EventFilter', 'EventList'),
    'REMOVE': ('NameRef', 'Empty'), 'TUNE': ('Tune', 'Empty'),
    'RESIZE': ('Resize', 'InstanceInfo'),
}
NAMES = {SCHEMA.value('MESSAGE_' + name): name for name in BODIES}


class Refusal(Exception):
    """An answer with the error flag."""

    def __init__(self, code, message, remedy=''):
        super().__init__(message)
        self.fields = {'code': 'ERROR_' + code, 'message': message, 'remedy': remedy}


class Hangup(Exception):
    """Closes the connection instead of answering."""


class FakeController:
    """Listens on a unix socket; answers[name] is a dictionary or a function of the request."""

    def __init__(self, path):
        self.path = path
        self.answers = {}
        self.asked = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(8)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            try:
                while True:
                    got = wire.read_frame(connection)
                    if got is None:
                        return
                    kind, _, request_id, body = got
                    connection.sendall(self._answer(kind, request_id, body))
            except (Hangup, OSError):
                return

    def _answer(self, kind, request_id, body):
        if kind == SCHEMA.value('MESSAGE_HELLO'):
            hello = SCHEMA.encode('HelloReply', {
                'version': 1, 'epoch': 7, 'name': 'fake', 'build': 'fake 1',
                'role': 'ROLE_CONTROLLER'})
            return wire.frame(kind, hello, wire.REPLY, request_id)
        name = NAMES[kind]
        request = SCHEMA.decode(BODIES[name][0], body)
        self.asked.append((name, request))
        answer = self.answers.get(name, {})
        try:
            fields = answer(request) if callable(answer) else answer
            reply = SCHEMA.encode(BODIES[name][1], fields)
            return wire.frame(kind, reply, wire.REPLY, request_id)
        except Refusal as refusal:
            reply = SCHEMA.encode('Error', refusal.fields)
            return wire.frame(kind, reply, wire.REPLY | wire.ERROR, request_id)
