"""Certificates that nobody has signed for: of a house's own servers, or of somebody who poses as another."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from tests.servers.requirement import require


def self_signed(folder: Path) -> ssl.SSLContext:
    """For 127.0.0.1; `cert.pem` in the folder is its own authority."""
    openssl = require("openssl")["openssl"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    command = [str(openssl), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *files, *names], check=True, capture_output=True, timeout=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
