"""A DTLS 1.2 client on tinydtls, by way of the library that the Python package DTLSSocket brings: its own interface chooses
neither suites nor keys other than a pre-shared one.

tinydtls.py PORT SUITE[:SUITE…] psk IDENTITY KEY     suites by their numbers: c0a8, c0a4, c0ae, c0ac
tinydtls.py PORT SUITE[:SUITE…] raw D X Y            a key on P-256: tinydtls knows no certificates, only raw public keys

It says "established", sends each line of its input, prints what it gets, and closes at the end of its input.
"""

import ctypes
import selectors
import socket
import struct
import sys

try:
    import DTLSSocket.dtls
except ImportError:
    sys.exit("DTLSSocket is needed for this test (tests/run installs it)")
tiny = ctypes.CDLL(DTLSSocket.dtls.__file__)
tiny.dtls_new_context.restype = ctypes.c_void_p

POINTER, SIZE, INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
DATA = ctypes.CFUNCTYPE(INT, POINTER, POINTER, POINTER, SIZE)
EVENT = ctypes.CFUNCTYPE(INT, POINTER, POINTER, INT, ctypes.c_ushort)
PARAMETERS = ctypes.CFUNCTYPE(None, POINTER, POINTER, POINTER)
PSK = ctypes.CFUNCTYPE(INT, POINTER, POINTER, INT, POINTER, SIZE, POINTER, SIZE)
KEY = ctypes.CFUNCTYPE(INT, POINTER, POINTER, ctypes.POINTER(POINTER))
VERIFY = ctypes.CFUNCTYPE(INT, POINTER, POINTER, POINTER, POINTER, SIZE)
CONNECTED = 0x1DE
PSK_HINT, PSK_IDENTITY, PSK_KEY = range(3)


class Handler(ctypes.Structure):
    _fields_ = [
        ("write", DATA),
        ("read", DATA),
        ("event", EVENT),
        ("get_user_parameters", PARAMETERS),
        ("get_psk_info", PSK),
        ("get_ecdsa_key", KEY),
        ("verify_ecdsa_key", VERIFY),
    ]


class RawKey(ctypes.Structure):
    _fields_ = [("curve", INT), ("d", ctypes.c_char_p), ("x", ctypes.c_char_p), ("y", ctypes.c_char_p)]


port, suites, kind, *credentials = sys.argv[1:]
suites = [int(suite, 16) for suite in suites.split(":")]
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect(("127.0.0.1", int(port)))
if kind == "psk":
    identity, key = credentials[0].encode(), bytes.fromhex(credentials[1])
else:
    raw_key = RawKey(0, *(bytes.fromhex(part) for part in credentials))


def say(line):
    print(line, flush=True)


@DATA
def write(_context, _session, data, length):
    try:
        return udp.send(ctypes.string_at(data, length))
    except ConnectionRefusedError:
        return length


@DATA
def read(_context, _session, data, length):
    say(ctypes.string_at(data, length).decode().rstrip())
    return 0


@EVENT
def event(_context, _session, level, code):
    if code == CONNECTED:
        say("established")
        inputs.register(sys.stdin.buffer.raw, selectors.EVENT_READ)
    elif level > 0:
        say(f"alert {code}, level {level}")
    return 0


@PARAMETERS
def parameters(_context, _session, out):
    # Five suites, the last of them zero, and behind them the two bits that are set beforehand.
    ctypes.memmove(out, struct.pack("=5I", *(suites + [0] * 5)[:5]), 20)


@PSK
def psk(_context, _session, wanted, _asked, _asked_length, out, room):
    if wanted == PSK_HINT:
        return 0
    found = identity if wanted == PSK_IDENTITY else key
    if len(found) > room:
        return -1
    ctypes.memmove(out, found, len(found))
    return len(found)


@KEY
def own_key(_context, _session, out):
    out[0] = ctypes.addressof(raw_key)
    return 0


@VERIFY
def verify(_context, _session, _x, _y, _length):
    return 0


handler = Handler(write=write, read=read, event=event, get_user_parameters=parameters)
if kind == "psk":
    handler.get_psk_info = psk
else:
    handler.get_ecdsa_key = own_key
    handler.verify_ecdsa_key = verify

inputs = selectors.DefaultSelector()
inputs.register(udp, selectors.EVENT_READ)
tiny.dtls_init()
# `dtls_set_handler` is inline and so not in the library. The handler is the context's last field, and before it stands what was
# given to `dtls_new_context`, by which it is found.
application = ctypes.addressof(raw_key) if kind == "raw" else ctypes.addressof(handler)
context = tiny.dtls_new_context(ctypes.c_void_p(application))
fields = (POINTER * 7).from_address(context)
fields[list(fields).index(application) + 1] = ctypes.addressof(handler)
context = POINTER(context)

address = struct.pack("=HH4s", socket.AF_INET, socket.htons(int(port)), socket.inet_aton("127.0.0.1"))
# socklen_t, then a sockaddr_storage at its alignment, then an interface.
session = ctypes.create_string_buffer(struct.pack("=Ixxxx", 16) + address, 160)
if tiny.dtls_connect(context, session) < 0:
    sys.exit("tinydtls does not connect")
again = ctypes.c_int64()
while True:
    for ready, _ in inputs.select(0.05):
        if ready.fileobj is udp:
            try:
                datagram = udp.recv(2048)
            except ConnectionRefusedError:
                continue
            if tiny.dtls_handle_message(context, session, datagram, len(datagram)) < 0:
                say("a datagram is refused")
        elif line := sys.stdin.buffer.raw.readline():
            tiny.dtls_write(context, session, line, len(line))
        else:
            tiny.dtls_close(context, session)
            sys.exit(0)
    tiny.dtls_check_retransmit(context, ctypes.byref(again))
