"""The web: headers, passwords and signatures reach the right host and no other; redirects lead nowhere dangerous."""

import datetime
import ipaddress
import json
import socket
import ssl
import time

import pytest
from fault_server import FaultServer, Folder
from faults import Redirect, Status
from fsspec import config
from places import CONTENT, NAME, Place

from mermed.errors import EnvironmentError_
from mermed.stream.remote.failure import retry_after_s


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """Write a settings file of fsspec: `settings(headers=...)`."""
    folder = tmp_path / "fsspec"
    folder.mkdir()
    monkeypatch.setattr(config, "conf_dir", str(folder))
    for scheme in ("http", "https"):
        monkeypatch.setitem(config.conf, scheme, {})
    return lambda **values: (folder / "http.json").write_text(json.dumps({"http": values}))


@pytest.fixture
def elsewhere(tmp_path):
    """A second server, with the same file at another place."""
    path = tmp_path / "elsewhere" / "moved.tar"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    with FaultServer(Folder(path.parent)) as running:
        yield running


def test_a_signature_in_the_query_is_sent_with_every_file_as_it_was_given(web):
    web.server.query = "sig=a%2Fb%2Bc&expires=1"
    web.url += f"?{web.server.query}"
    store = web.open()
    assert store.read(NAME) == CONTENT
    assert store.size(NAME) == len(CONTENT)


def test_a_user_and_password_in_the_address_are_sent_as_such(web):
    web.url = web.url.replace("://", "://someone:secret@")
    web.open().read_at(NAME, 0, 5)
    assert web.server.requests[-1].headers["authorization"].startswith("Basic ")


def test_credentials_that_were_renewed_on_disk_are_found_after_a_refusal(web, settings):
    settings(headers={"Authorization": "Bearer old"})
    web.server.token = "old"
    store = web.open()
    assert store.read_at(NAME, 0, 5) == CONTENT[:5]
    web.server.token = "new"
    settings(headers={"Authorization": "Bearer new"})
    assert store.read_at(NAME, 5, 5) == CONTENT[5:10]
    assert web.server.statuses[403] == 1


def test_a_redirect_to_another_host_is_followed_without_the_credentials(web, elsewhere, settings):
    settings(headers={"Authorization": "Bearer secret"})
    web.server.token = "secret"
    web.server.inject(Redirect(f"{elsewhere.url}/moved.tar?sig=theirs"), times=-1)
    assert web.open().read_at(NAME, 1000, 50) == CONTENT[1000:1050]
    assert "authorization" in web.server.requests[-1].headers
    assert "authorization" not in elsewhere.requests[-1].headers
    assert elsewhere.requests[-1].range == "bytes=1000-1049"


def test_a_redirect_on_the_same_host_keeps_them(web, settings):
    settings(headers={"Authorization": "Bearer secret"})
    web.server.token = "secret"
    web.server.inject(Redirect(f"/bucket/coll/{NAME}", 307))
    assert web.open().read_at(NAME, 1000, 50) == CONTENT[1000:1050]


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("file:///etc/passwd", "another protocol"),
        ("ftp://example.org/x", "another protocol"),
        ("http://169.254.169.254/latest/meta-data", "inside the network"),
        ("http://[::ffff:169.254.169.254]/latest", "inside the network"),
        ("http://[fe80::1]/x", "inside the network"),
        ("http://[/", "no address"),
        ("", "from one address to the next"),
    ],
)
def test_a_redirect_to_where_no_collection_lies_is_refused(web, location, found):
    web.server.inject(Redirect(location), times=-1)
    with pytest.raises(EnvironmentError_, match="cannot be read") as caught:
        web.open(patience_s=1000).read_at(NAME, 0, 5)
    assert found in str(caught.value)
    assert "169.254" not in str(caught.value)


def test_a_redirect_to_a_name_that_leads_inside_is_refused(web, monkeypatch):
    lookup = socket.getaddrinfo

    def misled(host, *rest, **options):
        return lookup("169.254.169.254" if host == "innocent.example" else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", misled)
    web.server.inject(Redirect("http://innocent.example/x"))
    with pytest.raises(EnvironmentError_, match="cannot be read") as caught:
        web.open(patience_s=1000).read_at(NAME, 0, 5)
    assert "inside the network" in str(caught.value)


def test_redirects_without_end_are_given_up(web):
    web.server.inject(Redirect(f"/bucket/coll/{NAME}"), times=-1)
    with pytest.raises(EnvironmentError_, match="cannot be read"):
        web.open(patience_s=1000).read_at(NAME, 0, 5)
    assert len(web.server.requests) <= 6


def _tls(tmp_path):
    """A server's and a client's context over a certificate made for this test."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    today = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(today - day).not_valid_after(today + day)
    certificate = builder.add_extension(host, critical=False).sign(key, hashes.SHA256())
    pem = tmp_path / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=str(pem))


@pytest.fixture
def secure(folder, tmp_path, monkeypatch):
    """The collection over https, from a server that the client trusts."""
    server_context, client_context = _tls(tmp_path)
    monkeypatch.setitem(config.conf, "https", {"ssl": client_context})
    with FaultServer(Folder(folder), tls=server_context) as running:
        place = Place(running, f"{running.url}/bucket/coll", "auto")
        yield place
        for store in place.opened:
            store.close()


def test_https_is_read(secure):
    assert secure.open().read(NAME) == CONTENT


def test_a_redirect_from_https_to_http_is_refused(secure, elsewhere):
    secure.server.inject(Redirect(f"{elsewhere.url}/moved.tar"))
    with pytest.raises(EnvironmentError_, match="cannot be read") as caught:
        secure.open(patience_s=1000).read_at(NAME, 0, 5)
    assert "from https to http" in str(caught.value)
    assert not elsewhere.requests


def test_a_certificate_that_is_not_trusted_ends_the_read_at_once(secure, monkeypatch):
    monkeypatch.setitem(config.conf, "https", {})
    with pytest.raises(EnvironmentError_, match="cannot be read") as caught:
        secure.open(patience_s=1000).read_at(NAME, 0, 5)
    assert "certificate is not trusted" in str(caught.value)
    assert secure.url in str(caught.value)


def test_plain_http_on_a_port_that_speaks_tls_and_the_reverse_end_in_words(secure, web):
    secure.url = secure.url.replace("https", "http")
    web.url = web.url.replace("http", "https")
    for place in (secure, web):
        with pytest.raises(EnvironmentError_):
            place.open(patience_s=0).read_at(NAME, 0, 5)


def test_a_host_that_nobody_knows_is_given_up_soon_unless_it_answered_before(web, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    web.url = web.url.replace("127.0.0.1", "store.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(EnvironmentError_, match="nobody knows the store's host; 4 tries") as caught:
        web.open(patience_s=1000).read_at(NAME, 0, 5)
    assert "http://store.invalid" in str(caught.value)


def test_a_proxy_that_wants_a_password_is_told_apart_from_the_store(web, monkeypatch):
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", web.server.url)
    web.server.inject(Status(407))
    web.url = "http://store.invalid/coll"
    with pytest.raises(EnvironmentError_, match="cannot be read") as caught:
        web.open(patience_s=1000).read_at(NAME, 0, 5)
    assert "407" in str(caught.value)
    assert web.server.requests[-1].target.startswith("http://store.invalid/")


def test_an_encoded_answer_is_refused_since_its_bytes_are_not_those_of_the_file(web):
    from faults import Header

    web.server.inject(Header("Content-Encoding", "gzip"), times=-1)
    with pytest.raises(EnvironmentError_, match="how long its answer is"):
        web.open().read_at(NAME, 0, 5)
    assert web.server.requests[-1].headers["accept-encoding"] == "identity"


def test_a_name_with_odd_characters_is_quoted(web, folder):
    (folder / "bucket" / "coll" / "a b+ü&=.tar").write_bytes(b"odd")
    assert web.open().read("a b+ü&=.tar") == b"odd"


def test_an_empty_file_is_empty(web, folder):
    (folder / "bucket" / "coll" / "empty").write_bytes(b"")
    store = web.open()
    assert store.size("empty") == 0
    assert store.read("empty") == b""


def test_retry_after_is_read_as_seconds_or_as_a_date():
    assert retry_after_s("7") == 7
    assert retry_after_s("soon") == retry_after_s("") == retry_after_s("-3") == 0
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert 90 < retry_after_s(date) <= 100
