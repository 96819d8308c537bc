# SPDX-License-Identifier: Apache-2.0
"""The control protocol for tests: frames (lib/wire/frame.h) and bodies as dictionaries.

Reads the messages from proto/dilos.proto itself, so it knows every field without generated code
and without python3-protobuf. Only what that file uses of proto3: scalars, bytes, strings, enums,
messages, and repeated of these (numbers packed).
"""
import re
import struct

HEADER = struct.Struct('<IHHHHIQ')
MAGIC = 0x46504c44
VERSION = 1
REPLY, ERROR, NOTICE = 1, 2, 4
BODY_BYTES_MAX = 1 << 20
VARINTS = ('uint32', 'uint64', 'int32', 'int64', 'bool')


class Schema:
    """Messages by name: {field name: (number, type, repeated)}; enums by name: {value name: n}."""

    def __init__(self, path):
        with open(path, encoding='utf-8') as f:
            text = re.sub(r'//[^\n]*', '', f.read())
        self.messages = {}
        self.enums = {}
        for kind, name, body in re.findall(r'(message|enum)\s+(\w+)\s*\{([^}]*)\}', text):
            if kind == 'enum':
                pairs = re.findall(r'(\w+)\s*=\s*(\d+)\s*;', body)
                self.enums[name] = {key: int(value) for key, value in pairs}
            else:
                rows = re.findall(r'(repeated\s+)?(\w+)\s+(\w+)\s*=\s*(\d+)\s*;', body)
                self.messages[name] = {
                    field: (int(number), kind, bool(repeated))
                    for repeated, kind, field, number in rows}

    def value(self, name):
        """The number of an enum's value: MESSAGE_STATUS -> 64."""
        for values in self.enums.values():
            if name in values:
                return values[name]
        raise KeyError(name)

    def encode(self, message, fields):
        out = b''
        known = self.messages[message]
        for field, value in fields.items():
            number, kind, repeated = known[field]
            for item in value if repeated else [value]:
                out += self._encode_one(number, kind, item)
        return out

    def _encode_one(self, number, kind, value):
        if kind in self.enums or kind in VARINTS:
            if isinstance(value, str):
                value = self.enums[kind][value]
            return varint(number << 3) + varint(int(value) & (1 << 64) - 1)
        if kind in self.messages:
            data = self.encode(kind, value)
        else:
            data = value.encode() if isinstance(value, str) else bytes(value)
        return varint(number << 3 | 2) + varint(len(data)) + data

    def decode(self, message, data):
        """All fields are there: absent ones with their default; a message's default is None."""
        known = self.messages[message]
        names = {number: field for field, (number, _, _) in known.items()}
        out = {field: [] if repeated else self._default(kind)
               for field, (_, kind, repeated) in known.items()}
        at = 0
        while at < len(data):
            key, at = read_varint(data, at)
            if key & 7 == 0:
                value, at = read_varint(data, at)
            elif key & 7 == 2:
                length, at = read_varint(data, at)
                value, at = data[at:at + length], at + length
                if len(value) != length:
                    raise ValueError('truncated')
            else:
                raise ValueError(f'wire type {key & 7}')
            if key >> 3 in names:
                self._store(out, known, names[key >> 3], value)
        return out

    def _default(self, kind):
        if kind in self.messages:
            return None
        return {'string': '', 'bytes': b'', 'bool': False}.get(kind, 0)

    def _store(self, out, known, field, value):
        _, kind, repeated = known[field]
        if isinstance(value, int):
            values = [self._number(kind, value)]
        elif kind in self.messages:
            values = [self.decode(kind, value)]
        elif kind == 'string':
            values = [value.decode('utf-8', 'replace')]
        elif kind == 'bytes':
            values = [value]
        else:
            values, at = [], 0
            while at < len(value):
                number, at = read_varint(value, at)
                values.append(self._number(kind, number))
        if repeated:
            out[field] += values
        else:
            out[field] = values[-1]

    @staticmethod
    def _number(kind, value):
        if kind == 'bool':
            return value != 0
        if kind in ('int32', 'int64') and value >= 1 << 63:
            return value - (1 << 64)
        return value


def varint(value):
    out = b''
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def read_varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError('bad varint')
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def frame(kind, body=b'', flags=0, request_id=1, magic=MAGIC, version=VERSION, length=None):
    length = len(body) if length is None else length
    return HEADER.pack(magic, version, kind, flags, 0, length, request_id) + body


def read_frame(sock):
    """(type, flags, request id, body), or None at the end of the stream."""
    header = read_exactly(sock, HEADER.size)
    if header is None:
        return None
    magic, version, kind, flags, _, length, request_id = HEADER.unpack(header)
    if magic != MAGIC or version != VERSION or length > BODY_BYTES_MAX:
        raise ValueError('not a frame')
    body = read_exactly(sock, length)
    return None if body is None else (kind, flags, request_id, body)


def read_exactly(sock, length):
    data = b''
    while len(data) < length:
        more = sock.recv(length - len(data))
        if not more:
            return None
        data += more
    return data
