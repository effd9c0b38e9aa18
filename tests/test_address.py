"""Addresses: what is allowed, what is shown, and names that cannot leave their collection."""

import traceback

import pytest

from mermed.address import WRITE_SCHEMES, check_file_name, parse_address
from mermed.errors import ConfigError, ContractError


@pytest.mark.parametrize(
    "text",
    [
        "/data/coll",
        "relative/coll",
        "https://host/coll",
        "http://host:8080/coll",
        "s3://bucket/coll",
        "gs://b/c",
        "az://b/c",
        "memory://coll",
    ],
)
def test_plain_addresses_are_shown_as_they_are(text):
    assert parse_address(text).shown == text


def test_a_file_url_is_a_folder_of_this_machine():
    address = parse_address("file:///data/coll")
    assert address.is_local
    assert str(address.path) == "/data/coll"


@pytest.mark.parametrize(
    "text",
    [
        "pipe:cat /etc/passwd",
        "zip://a.tar::https://host/b.zip",
        "simplecache::s3://bucket/coll",
        "ftp://host/coll",
        "sftp://host/coll",
        "github://org:repo@/",
        "file://host/coll",
        "reference://x",
        "s3://bucket/coll?versionId=1",
        "https://host/coll#part",
        "s3://key:secret@bucket/coll",
        "s3://",
        "https://",
    ],
)
def test_commands_chains_and_other_protocols_are_refused(text):
    with pytest.raises(ConfigError):
        parse_address(text)


def test_collections_are_not_written_to_the_web():
    with pytest.raises(ConfigError, match="cannot lie there"):
        parse_address("https://host/coll", WRITE_SCHEMES)


def test_no_way_of_showing_an_address_shows_a_secret():
    address = parse_address("https://user:s3cr3t@host/coll/?sig=s3cr3t")
    assert address.is_secret
    assert address.shown == str(address) == "https://host/coll"
    assert "s3cr3t" not in repr(address) + repr([address]) + address.shown_file("a.tar")
    assert address.file_url("a b.tar") == "https://user:s3cr3t@host/coll/a%20b.tar?sig=s3cr3t"


@pytest.mark.parametrize(
    "text",
    ["s3://s3cr3t:s3cr3t@bucket/x", "gs://bucket/x?token=s3cr3t", "ftp://a:s3cr3t@h/x", "https://u:s3cr3t@h/x#y"],
)
def test_refusing_an_address_does_not_show_its_secret(text):
    with pytest.raises(ConfigError) as caught:
        parse_address(text)
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "name", ["manifest.json", "ct/train/ct-train-000000.tar", "a b/ü.tar", "a..b/c.tar", "~x", "-rf"]
)
def test_names_inside_a_collection_pass(name):
    assert check_file_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../other/a.tar",
        "a/../../b.tar",
        "a/./b.tar",
        "a//b.tar",
        "a/",
        "%2e%2e/%2e%2e/a.tar",
        "..\\a.tar",
        "file:///etc/passwd",
        "https://host/a.tar",
        "s3://bucket/a.tar",
        "pipe:cat /etc/passwd",
        "a.tar?x=1",
        "a.tar#x",
        "a\n.tar",
        "a\0.tar",
        "\u202ea.tar",
    ],
)
def test_names_that_leave_a_collection_or_mean_something_else_are_refused_unread(name):
    with pytest.raises(ContractError, match="leaves its collection") as caught:
        check_file_name(name)
    assert not name or name not in str(caught.value)
