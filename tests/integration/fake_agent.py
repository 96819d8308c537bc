# SPDX-License-Identifier: Apache-2.0
"""An agent without QEMU: speaks the control protocol and lets a test play its instances."""
import os
import socket
import threading
import time

from support import SOURCE, wire

SCHEMA = wire.Schema(os.path.join(SOURCE, 'proto', 'dilos.proto'))
LIMIT_S = 20

# What the controller asks an agent, and how that is answered.
ASKED = {'INSTANCE_START': ('InstanceStart', 'Empty'),
         'INSTANCE_SIGNAL': ('InstanceSignal', 'Empty'),
         'INSTANCE_LIVE': ('InstanceRef', 'InstanceLive'),
         'INSTANCE_TUNE': ('InstanceTune', 'InstanceTuned'),
         'INSTANCE_RESIZE': ('InstanceResize', 'InstanceResized'),
         'LOG_READ': ('LogRead', 'LogChunk')}
NAMES = {SCHEMA.value('MESSAGE_' + name): name for name in ASKED}


class FakeAgent:
    """on[NAME](request) -> fields of the reply; the default answers {}."""

    def __init__(self, lab, name='a1', instances=()):
        self.on = {}
        self.started = {}  # instance id -> spec
        self.replies = {}
        self.next_id = 1
        self.changed = threading.Condition()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LIMIT_S)
        self.socket.connect(lab.address[len('unix:'):])
        self.send_lock = threading.Lock()
        self.open = True
        self._hello(name)
        threading.Thread(target=self._read, daemon=True).start()
        self.registered = self.call('AGENT_REGISTER', 'AgentRegister', {
            'name': name, 'agent_id': f'{name:0>32}', 'host': name, 'host_id': 'h' * 32,
            'accelerator': 'none', 'memory_bytes': 1 << 30, 'cpu_count': 1,
            'instances': list(instances)}, 'AgentRegisterReply')
        threading.Thread(target=self._beat, daemon=True).start()

    def _hello(self, name):
        body = SCHEMA.encode('Hello', {'role': 'ROLE_AGENT', 'name': name, 'version_min': 1,
                                       'version_max': 1, 'build': 'fake'})
        self.socket.sendall(wire.frame(SCHEMA.value('MESSAGE_HELLO'), body, request_id=1 << 40))
        if wire.read_frame(self.socket)[1] != wire.REPLY:
            raise AssertionError('the controller refuses the agent')

    def close(self):
        """Ends the connection as a killed process would."""
        self.open = False
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _send(self, data):
        with self.send_lock:
            self.socket.sendall(data)

    def _beat(self):
        body = SCHEMA.encode('AgentHeartbeat', {'epoch': self.registered['epoch']})
        kind = SCHEMA.value('MESSAGE_AGENT_HEARTBEAT')
        while self.open:
            try:
                self._send(wire.frame(kind, body, wire.NOTICE, 0))
            except OSError:
                return
            time.sleep(self.registered['heartbeat_ms'] / 1000)

    def _read(self):
        try:
            while self.open:
                got = wire.read_frame(self.socket)
                if got is None:
                    return
                self._take(*got)
        except OSError:
            return

    def _take(self, kind, flags, request_id, body):
        if flags & wire.REPLY:
            with self.changed:
                self.replies[request_id] = (flags, body)
                self.changed.notify_all()
            return
        name = NAMES[kind]
        request = SCHEMA.decode(ASKED[name][0], body)
        if name == 'INSTANCE_START':
            with self.changed:
                self.started[request['instance_id']] = request['spec']
                self.changed.notify_all()
        fields = self.on.get(name, lambda _: {})(request)
        reply = SCHEMA.encode(ASKED[name][1], fields)
        self._send(wire.frame(kind, reply, wire.REPLY, request_id))

    def call(self, kind, message, fields, reply_message):
        """The reply; or the Error, with its code, as an AssertionError's argument."""
        with self.changed:
            self.next_id += 1
            request_id = self.next_id
        self._send(wire.frame(SCHEMA.value('MESSAGE_' + kind), SCHEMA.encode(message, fields),
                              request_id=request_id))
        with self.changed:
            if not self.changed.wait_for(lambda: request_id in self.replies, LIMIT_S):
                raise AssertionError(f'{kind}: no reply')
            flags, body = self.replies.pop(request_id)
        if flags & wire.ERROR:
            raise Refused(SCHEMA.decode('Error', body))
        return SCHEMA.decode(reply_message, body)

    def wait_started(self, name):
        """The id of the instance of that name once it was started here."""
        def find():
            return [i for i, spec in self.started.items() if spec['name'] == name]
        with self.changed:
            if not self.changed.wait_for(find, LIMIT_S):
                raise AssertionError(f'{name} was not started')
            return find()[-1]

    def report(self, instance_id, state, kind='', code=0, reason=''):
        self.call('INSTANCE_EVENT', 'InstanceEvent', {'report': {
            'instance_id': instance_id, 'state': state, 'exit_kind': kind, 'exit_code': code,
            'reason': reason}}, 'Empty')

    def acquire(self, instance_id, count, key):
        return self.call('SLAB_ACQUIRE', 'SlabAcquire', {
            'instance_id': instance_id, 'slab_count': count, 'request_key': key},
            'SlabAcquireReply')['slabs']

    def release(self, instance_id, slabs):
        self.call('SLAB_RELEASE', 'SlabRelease', {'instance_id': instance_id, 'slabs': [
            {'node': s['node'], 'slab_index': s['slab_index'], 'generation': s['generation']}
            for s in slabs]}, 'Empty')


class Refused(Exception):
    """A reply with the error flag; error: its body."""

    def __init__(self, error):
        super().__init__(error['message'])
        self.error = error


def ask(lab, kind, message, fields, reply_message):
    """One request as an operator sends it; its reply."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(LIMIT_S)
        s.connect(lab.address[len('unix:'):])
        hello = SCHEMA.encode('Hello', {'role': 'ROLE_OPERATOR', 'name': 'test', 'version_min': 1,
                                        'version_max': 1})
        s.sendall(wire.frame(SCHEMA.value('MESSAGE_HELLO'), hello))
        wire.read_frame(s)
        s.sendall(wire.frame(SCHEMA.value('MESSAGE_' + kind), SCHEMA.encode(message, fields),
                             request_id=2))
        _, flags, _, body = wire.read_frame(s)
    if flags & wire.ERROR:
        raise Refused(SCHEMA.decode('Error', body))
    return SCHEMA.decode(reply_message, body)
