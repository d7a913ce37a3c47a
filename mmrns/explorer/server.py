"""Serving the page: on loopback unless told otherwise, and nothing but what the page needs."""

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mmrns.errors import UserError
from mmrns.explorer.session import Explorer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# All that the page asks for. Gradio has more routes: files, uploads, a proxy, streams, an interface for programs.
_READ = ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/gradio_api/startup-events")
_READ_BELOW = ("/assets/", "/static/", "/gradio_api/heartbeat/")
_CALL = ("/gradio_api/run/predict", "/gradio_api/component_server")
# A question is a few hundred bytes.
_LONGEST_BODY = 64 * 1024
_POLICY = (
    "default-src 'self'; img-src 'self' data:; font-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'; connect-src 'self'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)


class OnlyThePage:
    """Lets through what the page asks for, and forbids the browser to ask anyone else.

    Other paths, other hosts than those the page is served under (so that a name that was pointed at this machine by
    somebody else does not reach it), and long bodies are refused.
    """

    def __init__(self, application: Application, hosts: list[str] | None) -> None:
        """Guard `application`; `hosts` are the names it may be asked under, None: any."""
        self._application, self._hosts = application, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
        elif scope["type"] != "http" or not self._asked_well(scope):
            await _refuse(scope, send)
        else:
            await self._application(scope, receive, _with_headers(send))

    def _asked_well(self, scope: Scope) -> bool:
        headers = {name.lower(): value for name, value in scope["headers"]}
        if self._hosts is not None and _host(headers.get(b"host", b"")) not in self._hosts:
            return False
        length = headers.get(b"content-length", b"0")
        if b"transfer-encoding" in headers or not length.isdigit() or int(length) > _LONGEST_BODY:
            return False
        return allowed(scope["method"], scope["path"])


def allowed(method: str, path: str) -> bool:
    """Whether the page asks for such a thing; `path` is decoded."""
    if ".." in path.split("/") or "\\" in path or "\0" in path:
        return False
    if method in ("GET", "HEAD"):
        return path in _READ or path.startswith(_READ_BELOW)
    return method == "POST" and path.rstrip("/") in _CALL


def _host(header: bytes) -> str:
    name = header.decode("latin-1").lower()
    return name.partition("]")[0] + "]" if name.startswith("[") else name.partition(":")[0]


async def _refuse(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": b"not here\n"})


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                *message.get("headers", []),
                (b"content-security-policy", _POLICY.encode()),
                (b"x-content-type-options", b"nosniff"),
                (b"referrer-policy", b"no-referrer"),
            ]
        await send(message)

    return sending


def bind(host: str, port: int) -> socket.socket:
    """A socket of our own at host and port (0: any that is free).

    Raises:
        UserError: the port is taken or not allowed, or there is no such host.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: give a number from 0 (any free port) to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family)
    except OSError as error:
        raise UserError(f"--host {host}: no such address of this machine ({error.strerror})") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)  # a second server that reuses the address is refused from here on
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"--port {port}: already in use on {host}; give another, or 0 for any free one") from error
        flag = f"--port {port}" if error.errno == errno.EACCES else f"--host {host}"
        raise UserError(f"{flag}: cannot be listened on ({error.strerror}); give another") from error
    return bound


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"


def application(explorer: Explorer, host: str = "127.0.0.1", port: int = 0) -> Application:
    """The guarded page as an ASGI application."""
    # Before gradio is imported: it would otherwise report home, and look for newer versions.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import fastapi
    import gradio

    from mmrns.explorer.layout import Layout, stylesheet, theme

    page = gradio.mount_gradio_app(
        fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        Layout(explorer).build(),
        path="",
        server_name=host,
        server_port=port,
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        blocked_paths=["/"],
        max_file_size=1,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=stylesheet(),
    )
    hosts = ["127.0.0.1", "localhost", "[::1]", host.lower()] if is_loopback(host) else None
    return OnlyThePage(page, hosts)


def server_of(page: Application) -> Any:
    """A uvicorn.Server of the page, which ends within a second of being told to, and without complaint."""
    import uvicorn

    # The heartbeats of open pages never end by themselves, so they are cut off; that is no error.
    config = uvicorn.Config(page, log_level="warning", timeout_graceful_shutdown=1, ws="none")
    logging.getLogger("uvicorn.error").addFilter(_is_no_cut)
    return uvicorn.Server(config)


def serve(page: Application, bound: socket.socket) -> None:
    """Serve until interrupted."""
    with contextlib.suppress(KeyboardInterrupt):
        server_of(page).run(sockets=[bound])


def _is_no_cut(record: logging.LogRecord) -> bool:
    cut = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cut and "graceful shutdown exceeded" not in record.getMessage()
