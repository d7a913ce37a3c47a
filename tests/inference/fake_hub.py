"""The part of the model hub's HTTP interface that pushing and loading a model need, on this machine."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class FakeHub:
    """Repositories as {"owner/name": {path: bytes}}; `requests` lists what was asked of it."""

    def __init__(self):
        self.repositories, self.requests = {}, []
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def commit(self, repository):
        """A commit hash that follows from the content."""
        files = self.repositories[repository]
        return hashlib.sha1(b"".join(name.encode() + files[name] for name in sorted(files))).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": len(body), "Content-Type": "application/json"} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def parts(self):
        path = unquote(self.path.split("?")[0])
        self.hub.requests.append((self.command, path))
        return path.strip("/").split("/")

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        parts = self.parts()
        files = None
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            repository = "/".join(parts[2:4])
            files = self.hub.repositories.get(repository)
            if files is not None:
                siblings = [{"rfilename": name} for name in files]
                found = {
                    "id": repository,
                    "modelId": repository,
                    "sha": self.hub.commit(repository),
                    "siblings": siblings,
                }
                listing = [{"type": "file", "path": n, "size": len(c), "oid": "0" * 40} for n, c in files.items()]
                self.answer(200, listing if "tree" in parts else found)
                return
        elif len(parts) >= 5 and parts[2] == "resolve":
            repository, name = "/".join(parts[:2]), "/".join(parts[4:])
            files = self.hub.repositories.get(repository)
            if files is not None and name in files:
                digest = hashlib.sha256(files[name]).hexdigest()
                self.answer(200, files[name], ETag=f'"{digest}"', X_Repo_Commit=self.hub.commit(repository))
                return
        elif parts == [""]:
            self.answer(200)
            return
        self.answer(404, {"error": "not here"}, X_Error_Code="RepoNotFound" if files is None else "EntryNotFound")

    def do_POST(self):
        parts = self.parts()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not (self.headers.get("Authorization") or "").startswith("Bearer "):
            self.answer(401, {"error": "who are you?"})
        elif parts == ["api", "repos", "create"]:
            given = json.loads(body)
            name = f"{given['organization']}/{given['name']}"
            self.hub.repositories.setdefault(name, {})
            self.hub.visibility = given.get("visibility")
            self.answer(200, {"url": f"{self.hub.url}/{name}", "name": name})
        elif parts == ["api", "validate-yaml"]:
            self.answer(200, {"errors": [], "warnings": []})
        elif "preupload" in parts:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self.answer(200, {"files": files})
        elif "commit" in parts:
            repository = "/".join(parts[2:4])
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    self.hub.repositories[repository][line["value"]["path"]] = base64.b64decode(
                        line["value"]["content"]
                    )
            oid = self.hub.commit(repository)
            url = f"{self.hub.url}/{repository}/commit/{oid}"
            self.answer(200, {"success": True, "commitUrl": url, "commitOid": oid})
        else:
            self.answer(404, {"error": "not here"})
