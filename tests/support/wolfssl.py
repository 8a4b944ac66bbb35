"""A DTLS 1.2 client or echo server on wolfSSL's library, for the suites that no foreign command line program has.

wolfssl.py client PORT IDENTITY KEY SUITES   says "established SUITE", sends each line of its input, prints what it gets
wolfssl.py server PORT IDENTITY KEY SUITES   says "listening", serves one client, sends everything back

Options behind these: --no-extended-master-secret, --max-fragment-length-512, --certificate PEM KEY-PEM, --ca PEM
"""

import ctypes
import ctypes.util
import socket
import struct
import sys
import threading

library = ctypes.util.find_library("wolfssl")
if library is None:
    sys.exit("libwolfssl is needed for this test (tests/run installs it)")
wolf = ctypes.CDLL(library)
for name in ("wolfDTLSv1_2_client_method", "wolfDTLSv1_2_server_method", "wolfSSL_CTX_new", "wolfSSL_new"):
    getattr(wolf, name).restype = ctypes.c_void_p
wolf.wolfSSL_get_cipher_name.restype = ctypes.c_char_p

CLIENT_KEY = ctypes.CFUNCTYPE(
    ctypes.c_uint, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint
)
SERVER_KEY = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_uint)

role, port, identity, key, suites, *options = sys.argv[1:]
identity, key = identity.encode(), bytes.fromhex(key)


@CLIENT_KEY
def client_key(_session, _hint, identity_out, _identity_max, key_out, _key_max):
    ctypes.memmove(identity_out, identity + b"\0", len(identity) + 1)
    ctypes.memmove(key_out, key, len(key))
    return len(key)


@SERVER_KEY
def server_key(_session, named, key_out, _key_max):
    if named != identity:
        return 0
    ctypes.memmove(key_out, key, len(key))
    return len(key)


def say(line):
    print(line, flush=True)


def failed(session, what):
    sys.exit(f"{what}: wolfSSL error {wolf.wolfSSL_get_error(ctypes.c_void_p(session), 0)}")


wolf.wolfSSL_Init()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if role == "client":
    method = wolf.wolfDTLSv1_2_client_method()
    peer = ("127.0.0.1", int(port))
else:
    method = wolf.wolfDTLSv1_2_server_method()
    udp.bind(("127.0.0.1", int(port)))
    say("listening")
    _, peer = udp.recvfrom(1, socket.MSG_PEEK)
udp.connect(peer)
context = ctypes.c_void_p(wolf.wolfSSL_CTX_new(ctypes.c_void_p(method)))
if wolf.wolfSSL_CTX_set_cipher_list(context, suites.encode()) != 1:
    sys.exit(f"this wolfSSL has no {suites}")
if "--certificate" in sys.argv or "--ca" in sys.argv:
    pass
elif role == "client":
    wolf.wolfSSL_CTX_set_psk_client_callback(context, client_key)
else:
    wolf.wolfSSL_CTX_set_psk_server_callback(context, server_key)
PEM, MAX_512 = 1, 1
settings = iter(options)
for option in settings:
    if option == "--no-extended-master-secret":
        done = wolf.wolfSSL_CTX_DisableExtendedMasterSecret(context) == 1
    elif option == "--max-fragment-length-512":
        done = wolf.wolfSSL_CTX_UseMaxFragment(context, MAX_512) == 1
    elif option == "--certificate":
        chain, private = next(settings).encode(), next(settings).encode()
        done = wolf.wolfSSL_CTX_use_certificate_chain_file(context, chain) == 1
        done = done and wolf.wolfSSL_CTX_use_PrivateKey_file(context, private, PEM) == 1
    elif option == "--ca":
        done = wolf.wolfSSL_CTX_load_verify_locations(context, next(settings).encode(), None) == 1
    else:
        done = False
    if not done:
        sys.exit(f"wolfSSL does not take {option}")
session = wolf.wolfSSL_new(context)
handle = ctypes.c_void_p(session)
address = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(peer[1]), socket.inet_aton(peer[0]))
wolf.wolfSSL_dtls_set_peer(handle, address, len(address))
wolf.wolfSSL_set_fd(handle, udp.fileno())
shake = wolf.wolfSSL_connect if role == "client" else wolf.wolfSSL_accept
if shake(handle) != 1:
    failed(session, role)
say("established " + wolf.wolfSSL_get_cipher_name(handle).decode())


def write_lines():
    for line in sys.stdin.buffer:
        wolf.wolfSSL_write(handle, line, len(line))
    wolf.wolfSSL_shutdown(handle)


if role == "client":
    threading.Thread(target=write_lines, daemon=True).start()
buffer = ctypes.create_string_buffer(2048)
while (length := wolf.wolfSSL_read(handle, buffer, len(buffer))) > 0:
    if role == "client":
        say(buffer.raw[:length].decode().rstrip())
    else:
        wolf.wolfSSL_write(handle, buffer, length)
