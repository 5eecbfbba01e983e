"""The server of `harness demo`: no other host, no listing, a policy, and bounds."""

from __future__ import annotations

import http.client
import socket
import threading
import time

import pytest

from harness.deploy import server as serving
from harness.deploy.server import DemoServer


@pytest.fixture
def server(tmp_path):
    (tmp_path / "page" / "model").mkdir(parents=True)
    (tmp_path / "page" / "index.html").write_text("<p>page")
    (tmp_path / "page" / "model" / "x.wasm").write_text("wasm")
    (tmp_path / "secret").write_text("secret")
    with DemoServer(tmp_path / "page", 0) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def ask(server, path="/", method="GET", **headers):
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.putrequest(method, path, skip_host=True)
    for name, value in ({"Host": f"127.0.0.1:{port}"} | headers).items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer, answer.read()


def test_page_is_served_with_a_content_policy(server):
    answer, body = ask(server)
    assert (answer.status, body) == (200, b"<p>page")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert ask(server, "/model/x.wasm")[0].headers["Content-Type"] == "application/wasm"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "", "127.0.0.1:1"])
def test_other_host_is_refused(host, server):
    answer, body = ask(server, Host=host)
    assert answer.status == 421
    assert b"page" not in body
    assert "Content-Security-Policy" in answer.headers


def test_localhost_is_this_machine(server):
    assert ask(server, Host=f"localhost:{server.server_address[1]}")[0].status == 200


@pytest.mark.parametrize("path", ["/%00", "/model/", "/../secret", "/%2e%2e/secret", "//secret", "/none"])
def test_other_paths_are_refused(path, server, capsys):
    answer, body = ask(server, path)
    assert answer.status in (400, 404)
    assert b"secret" not in body.replace(path.encode(), b"")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_refused(method, server):
    assert ask(server, method=method)[0].status == 501


def test_connections_are_bounded_and_freed(server, monkeypatch):
    monkeypatch.setattr(serving.DemoHandler, "timeout", 0.5)
    silent = [
        socket.create_connection(server.server_address[:2]) for _ in range(serving.MOST_CONNECTIONS + 8)
    ]
    time.sleep(0.2)
    assert threading.active_count() <= 2 * serving.MOST_CONNECTIONS + 10
    for one in silent[-4:]:
        one.settimeout(2)
        assert one.recv(1) == b""
    time.sleep(0.8)
    assert ask(server)[0].status == 200
    for one in silent:
        one.close()


def test_slow_client_is_cut(server, monkeypatch):
    monkeypatch.setattr(serving, "LONGEST_S", 0.3)
    with socket.create_connection(server.server_address[:2]) as slow:
        slow.settimeout(3)
        began_s = time.monotonic()
        slow.sendall(b"GET / HTTP/1.1\r\n")
        assert slow.recv(1) == b""
        assert time.monotonic() - began_s < 2
