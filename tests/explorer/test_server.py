"""The server gives the page and nothing else: no file of the machine, no interface for programs."""

import importlib.util
import re
import signal
import socket
import subprocess
import sys
import urllib.parse

import httpx
import pytest
from fastapi.testclient import TestClient

from mmrns.cli import main
from mmrns.errors import UserError
from mmrns.explorer.server import allowed, bind, is_loopback


def raw(address, path, method="GET", headers=()):
    """Status and body of a request whose path is sent as it is; clients would tidy it."""
    host, port = urllib.parse.urlsplit(address).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        lines = [f"{method} {path} HTTP/1.1", *(headers or [f"Host: {host}"]), "Connection: close", "", ""]
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(answer.split(b" ", 2)[1]), answer


def test_the_page_comes_from_here_alone(served):
    page = httpx.get(served)
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert links and not [link for link in links if re.match(r"(https?:)?//", link)]
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "connect-src 'self'" in policy and "http" not in policy
    theme = httpx.get(f"{served}/theme.css").text
    assert "system-ui" in theme and "@import" not in theme and not re.search(r"url\(\W?(?!data:)\w", theme)
    config = httpx.get(f"{served}/config").json()
    assert config["analytics_enabled"] is False
    assert not config.get("is_space") and not config.get("space_id")


def secrets(folder):
    return [folder / "train.txt", folder / "images/1.png", folder.parent / "secret.png"]


@pytest.mark.parametrize(
    "template",
    [
        "/gradio_api/file={}", "/file={}", "/gradio_api/file/{}", "/gradio_api/file={}?x=1", "/gradio_api/file%3D{}",
        "/gradio_api/proxy=file://{}", "/static/../../../../../../../../..{}", "/assets/../../../../../../../../..{}",
        "/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e{}", "/static/..%2f..%2f..%2f..%2f..%2f..{}",
        "/assets/..\\..\\..\\..{}", "/assets/{}", "/static/{}", "/static//{}", "//{}", "/{}", "/theme.css/../..{}",
    ],
)  # fmt: skip
def test_no_file_of_the_machine_is_given(served, pictured_graph, template):
    for path in [*secrets(pictured_graph), "/etc/passwd"]:
        status, answer = raw(served, template.format(path))
        assert status in (400, 403, 404), (template, path)
        assert b"root:" not in answer and b"\tr0\t" not in answer and b"\x89PNG" not in answer


def test_gradio_alone_would_not_give_files_either(served, explorer, pictured_graph):
    """The guard is the second door: behind it no folder is allowed."""
    import gradio

    from mmrns.explorer.layout import Layout

    blocks = Layout(explorer).build()
    page = gradio.routes.App.create_app(blocks, app_kwargs={"docs_url": None})
    blocks.allowed_paths, blocks.blocked_paths = [], ["/"]
    client = TestClient(page, base_url="http://127.0.0.1")
    for path in [*secrets(pictured_graph), "/etc/passwd"]:
        assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/upload"), ("GET", "/gradio_api/info"), ("GET", "/monitoring"), ("GET", "/docs"),
        ("GET", "/gradio_api/openapi.json"), ("POST", "/gradio_api/call/x"), ("POST", "/gradio_api/queue/join"),
        ("GET", "/gradio_api/proxy=http://127.0.0.1:1/"), ("POST", "/login"), ("GET", "/gradio_api/deep_link"),
        ("GET", "/gradio_api/mcp/"), ("PUT", "/"), ("DELETE", "/config"), ("GET", "/gradio_api/runs"),
        ("GET", "/gradio_api/run/predict"), ("POST", "/config"), ("POST", "/"), ("GET", "/gradio_api/token"),
        ("GET", "/gradio_api/dev/reload"), ("GET", "/logout"), ("OPTIONS", "/config"),
    ],
)  # fmt: skip
def test_what_the_page_does_not_use_is_not_there(served, method, path):
    assert raw(served, path, method)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "10.0.0.1", ""])
def test_a_strange_name_for_this_machine_is_refused(served, host):
    assert raw(served, "/config", headers=[f"Host: {host}"])[0] == 404


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1234", "[::1]:80", "LOCALHOST"])
def test_its_own_names_are_not(served, host):
    assert raw(served, "/config", headers=[f"Host: {host}"])[0] == 200


def test_a_long_body_and_one_without_a_length_are_refused(served):
    for header in ("Content-Length: 65537", "Content-Length: -1", "Transfer-Encoding: chunked"):
        headers = ["Host: 127.0.0.1", header]
        assert raw(served, "/gradio_api/run/predict", "POST", headers)[0] in (400, 404)


def test_only_the_listed_functions_can_be_called(served):
    config = httpx.get(f"{served}/config").json()
    search = next(part for part in config["components"] if part["props"].get("elem_id") == "search")
    for name, data in (("suggest", "thing 7"), ("picture", 1), ("ready", None)):
        call = {"component_id": search["id"], "fn_name": name, "session_hash": "s", "data": data}
        assert httpx.post(f"{served}/gradio_api/component_server", json=call).status_code == 200, name
    for name in ("__init__", "preprocess", "postprocess", "render", "eval", "push_to_hub"):
        call = {"component_id": search["id"], "fn_name": name, "session_hash": "s", "data": "x"}
        assert httpx.post(f"{served}/gradio_api/component_server", json=call).status_code >= 400, name


@pytest.mark.parametrize("path", ["/", "/assets/index.js", "/gradio_api/heartbeat/abc"])
def test_the_guard_lets_reading_through(path):
    assert allowed("GET", path) and allowed("HEAD", path) and not allowed("POST", path)


def test_a_port_in_use_and_impossible_ones_are_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port {port}: already in use on 127\.0\.0\.1; give another, or 0"):
            bind("127.0.0.1", port)
    for port in (-1, 65536):
        with pytest.raises(UserError, match=f"--port {port}: give a number from 0"):
            bind("127.0.0.1", port)
    with pytest.raises(UserError, match=r"--host 203\.0\.113\.7: cannot be listened on"):
        bind("203.0.113.7", 0)
    with pytest.raises(UserError, match=r"--host no such host: no such address"):
        bind("no such host", 0)


def test_two_servers_do_not_share_a_port():
    with bind("127.0.0.1", 0) as first, pytest.raises(UserError, match="already in use"):
        bind("127.0.0.1", first.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("example", False),
    ],
)
def test_what_only_this_machine_reaches(host, expected):
    assert is_loopback(host) is expected


def refused(argv, capsys):
    capsys.readouterr()
    assert main(argv) == 2
    written = capsys.readouterr()
    assert written.out == "" and written.err.count("\n") == 1 and "Traceback" not in written.err
    return written.err


def test_bad_input_is_one_line_and_status_2(runs, tiny_graph, finished_run, capsys, monkeypatch, tmp_path):
    run = str(runs[0])
    free = ["--port", "0"]
    assert "nowhere: not a run folder" in refused(["explore", str(tmp_path / "nowhere"), *free], capsys)
    assert "not a run folder" in refused(["explore", str(tiny_graph), *free], capsys)
    assert "not a run folder" in refused(["explore", run, "--compare", str(tiny_graph), *free], capsys)
    assert "-k 0: ask for at least 1" in refused(["explore", run, "-k", "0", *free], capsys)
    assert "--port 70000: give a number" in refused(["explore", run, "--port", "70000"], capsys)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"--port {port}: already in use" in refused(["explore", run, "--port", port], capsys)
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else there(name))
    assert "gradio, which is not installed; run: pip install 'gradio>=6'" in refused(["explore", run, *free], capsys)


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(runs):
    command = [sys.executable, "-m", "mmrns", "explore", str(runs[0]), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        address = running.stdout.readline().split()[0]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
        assert httpx.get(address).status_code == 200
        with httpx.stream("GET", f"{address}/gradio_api/heartbeat/open") as heartbeat:  # as an open page has it
            assert heartbeat.status_code == 200
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=30)
    assert running.returncode == 0
    assert (out, err) == ("", "")
