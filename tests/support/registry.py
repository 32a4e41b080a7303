"""A registry and a containerd on the workstation: Debian's, from the tool set `registry`."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPSConnection
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bulkhead.build.tools import Tools
from bulkhead.lib import sandbox
from bulkhead.lib.run import spawn
from tests.support import containers

USER, PASSWORD = "reader", "it is a secret"
# bcrypt of PASSWORD: crypt.crypt(PASSWORD, "$2b$05$" + 22 letters).
_HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuu9Eg/NvAtAdBGjBFPzVLP/1zT.9/wHf2\n"
_LIMIT_S = 60


class Certificate(msgspec.Struct, frozen=True):
    """A key and a certificate that signs itself, for 127.0.0.1 and perhaps for names."""

    key: Path
    certificate: Path


def certificate(directory: Path, *names: str) -> Certificate:
    """Make a key and a certificate, which is for these names too."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "registry of a test")])
    now = datetime.datetime.now(tz=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *map(x509.DNSName, names)]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = Certificate(key=directory / "key.pem", certificate=directory / "certificate.pem")
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    files.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return files


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Registry:
    """A running registry.

    Attributes:
        host: how images name it.
        log: what it wrote, one line for each request.
    """

    def __init__(self, host: str, log: Path, files: Certificate) -> None:
        self.host = host
        self.log = log
        self._files = files

    def requests(self) -> str:
        """Return what was asked so far."""
        return self.log.read_text()

    def push(self, archive: Path, name: str) -> None:
        """Put the image of an OCI archive into it, under `name:tag`."""
        blobs = containers.blobs(archive)
        (entry,) = json.loads(blobs["index.json"])["manifests"]
        raw = blobs[f"blobs/{entry['digest'].replace(':', '/')}"]
        manifest = json.loads(raw)
        path, _, tag = name.partition(":")
        for blob in (manifest["config"], *manifest["layers"]):
            data = blobs[f"blobs/{blob['digest'].replace(':', '/')}"]
            where = self._ask("POST", f"/v2/{path}/blobs/uploads/", b"", {})
            joined = "&" if "?" in where else "?"
            self._ask(
                "PUT", f"{where}{joined}digest={blob['digest']}", data,
                {"Content-Type": "application/octet-stream"},
            )  # fmt: skip
        kind = manifest.get("mediaType", "application/vnd.oci.image.manifest.v1+json")
        self._ask("PUT", f"/v2/{path}/manifests/{tag}", raw, {"Content-Type": kind})

    def _ask(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> str:
        connection = HTTPSConnection(self.host, context=_trusting(self._files), timeout=_LIMIT_S)
        connection.request(method, url, body, {**headers, **_authorization()})
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status in (201, 202), f"{method} {url}: {answer.status} {said!r}"
        location = answer.getheader("Location") or ""
        connection.close()
        return location.removeprefix(f"https://{self.host}")


@contextmanager
def serve(
    tools: Tools, directory: Path, files: Certificate, *, private: bool = False
) -> Iterator[Registry]:
    """Run a registry with TLS; a private one asks for `USER` and `PASSWORD`."""
    directory.mkdir()
    host = f"127.0.0.1:{free_port()}"
    (directory / "htpasswd").write_text(_HTPASSWD)
    config: dict[str, object] = {
        "version": "0.1",
        "log": {"accesslog": {"disabled": False}, "level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {
            "addr": host,
            "tls": {"certificate": str(files.certificate), "key": str(files.key)},
        },
    }
    if private:
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}
    (directory / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    log = directory / "log"
    with _running(
        tools, ["docker-registry", "serve", str(directory / "config.yml")], log,
        reads=[files.certificate.parent], writes=[directory],
    ):  # fmt: skip
        _wait(lambda: _listens(host), log)
        yield Registry(host, log, files)


@contextmanager
def containerd(tools: Tools, directory: Path, files: Certificate) -> Iterator[Path]:
    """Run containerd, which trusts the certificate; yield its socket."""
    directory.mkdir()
    sock = directory / "s"
    lines = (
        "version = 2", f'root = "{directory}/root"', f'state = "{directory}/state"',
        'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]',
        # As on a node: the first collection of garbage comes in the way of an import.
        '[plugins."io.containerd.gc.v1.scheduler"]', 'startup_delay = "1h"',
        "[grpc]", f'address = "{sock}"', "[ttrpc]", f'address = "{directory}/t"',
    )  # fmt: skip
    (directory / "config.toml").write_text("\n".join(lines))
    log = directory / "log"
    with _running(
        tools, ["containerd", "--config", str(directory / "config.toml")], log,
        reads=[files.certificate.parent], writes=[directory],
        env={"SSL_CERT_FILE": str(files.certificate)},
    ):  # fmt: skip
        _wait(lambda: _listens(str(sock)), log)
        yield sock


@contextmanager
def _running(
    tools: Tools,
    argv: list[str],
    log: Path,
    *,
    reads: list[Path],
    writes: list[Path],
    env: dict[str, str] | None = None,
) -> Iterator[None]:
    box = tools.sandbox(reads=reads, writes=writes, network=True)
    # containerd mounts what it unpacks.
    box = msgspec.structs.replace(box, privileged=True)
    with log.open("wb") as out:
        process = spawn(sandbox.command(box, argv, env=env), stdout=out, stderr=out)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _listens(address: str) -> bool:
    host, colon, port = address.rpartition(":")
    family = socket.AF_INET if colon else socket.AF_UNIX
    with socket.socket(family) as probe:
        return probe.connect_ex((host, int(port)) if colon else address) == 0


def _wait(ready: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + _LIMIT_S
    while not ready():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)  # another program's socket: nobody tells when it is there


def _trusting(files: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=os.fspath(files.certificate))


def _authorization() -> dict[str, str]:
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}
