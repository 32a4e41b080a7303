"""A TLS connection with itself, by a key that both sides know; prints what was agreed on."""

import hashlib
import ssl

KEY = bytes(range(32))

server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server_side.maximum_version = ssl.TLSVersion.TLSv1_2
server_side.set_ciphers("PSK")
server_side.set_psk_server_callback(lambda identity: KEY)  # type: ignore[attr-defined]  # 3.13
client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client_side.check_hostname = False
client_side.verify_mode = ssl.CERT_NONE
client_side.maximum_version = ssl.TLSVersion.TLSv1_2
client_side.set_ciphers("PSK")
client_side.set_psk_client_callback(lambda hint: ("node", KEY))  # type: ignore[attr-defined]  # 3.13

to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
client = client_side.wrap_bio(to_client, to_server)
server = server_side.wrap_bio(to_server, to_client, server_side=True)
waiting = {client, server}
for _ in range(10):
    for side in list(waiting):
        try:
            side.do_handshake()
            waiting.discard(side)
        except ssl.SSLWantReadError:
            pass
client.write(b"hello")
cipher = client.cipher()
assert cipher is not None
print(client.version(), cipher[0], server.read().decode())
print(hashlib.new("sha256", b"hello").hexdigest()[:16])
with open("/proc/self/maps") as maps:
    print(sorted({line.split()[-1] for line in maps if "libcrypto" in line}))
