"""A small hub: what huggingface_hub asks when it creates a model, uploads a folder, and fetches it.

Files are kept in memory, by model and revision; nothing is checked but that a token is sent.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


class Hub:
    """Serves models on a port of 127.0.0.1 in a thread of its own."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, dict[str, bytes]]] = {}
        """Files by model, commit and path."""

        self.branches: dict[str, dict[str, str]] = {}
        """Commits by model and branch."""

        self.objects: dict[str, bytes] = {}
        """What was uploaded apart from a commit, by its sha256."""

        self.tokens: set[str] = set()
        self.fetched: set[str] = set()
        hub = self

        class Handler(_Handler):
            serves = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def commit(self, model: str, branch: str, files: dict[str, bytes]) -> str:
        """Adds files to what a branch has; gives the commit."""
        before = self.files(model, branch)
        content = before | files
        listed = [(name, hashlib.sha1(data).hexdigest()) for name, data in sorted(content.items())]
        name = hashlib.sha1(json.dumps(listed).encode()).hexdigest()
        self.models.setdefault(model, {})[name] = content
        self.branches.setdefault(model, {})[branch] = name
        return name

    def files(self, model: str, revision: str) -> dict[str, bytes]:
        commits = self.models.get(model, {})
        return commits.get(self.branches.get(model, {}).get(revision, revision), {})


class _Handler(BaseHTTPRequestHandler):
    serves: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if token := self.headers.get("Authorization"):
            self.serves.tokens.add(token)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            model = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            self.serves.models.setdefault(model, {})
            self.serves.commit(model, "main", {})
            return self._json({"url": f"{self.serves.address}/{model}", "name": model})
        if match := re.fullmatch(r"/api/models/(.+)/preupload/(.+)", self.path):
            files = json.loads(body)["files"]
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in files
            ]
            return self._json({"files": modes})
        if self.path.endswith("/info/lfs/objects/batch"):
            return self._lfs(json.loads(body))
        if match := re.fullmatch(r"/api/models/(.+)/commit/([^/?]+).*", self.path):
            return self._commit(match[1], unquote(match[2]), body)
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        return self._missing()

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.serves.objects[hashlib.sha256(body).hexdigest()] = body
        self._json({})

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/api/whoami-v2":
            return self._json({"name": "someone", "type": "user", "orgs": []})
        if match := re.fullmatch(r"/api/models/(.+?)/tree/([^/]+)", path):
            return self._tree(match[1], unquote(match[2]))
        if match := re.fullmatch(r"/api/models/(.+?)(?:/revision/([^/]+))?", path):
            return self._info(match[1], unquote(match[2] or "main"))
        return self._file(path, content=True)

    def do_HEAD(self) -> None:
        self._file(self.path.partition("?")[0], content=False)

    def _commit(self, model: str, branch: str, body: bytes) -> None:
        files: dict[str, bytes] = {}
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if operation["key"] == "lfsFile":
                files[value["path"]] = self.serves.objects[value["oid"]]
        name = self.serves.commit(model, branch, files)
        address = f"{self.serves.address}/{model}/commit/{name}"
        self._json({"commitUrl": address, "commitOid": name, "success": True})

    def _lfs(self, asked: dict[str, Any]) -> None:
        objects = [
            {
                "oid": entry["oid"],
                "size": entry["size"],
                "actions": {"upload": {"href": f"{self.serves.address}/upload/{entry['oid']}"}},
            }
            for entry in asked["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _info(self, model: str, revision: str) -> None:
        files = self.serves.files(model, revision)
        if not files:
            return self._missing()
        name = self.serves.branches[model].get(revision, revision)
        siblings = [{"rfilename": path} for path in files]
        return self._json({"id": model, "modelId": model, "sha": name, "siblings": siblings})

    def _tree(self, model: str, revision: str) -> None:
        files = self.serves.files(model, revision)
        self._json(
            [
                {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}
                for path, data in files.items()
            ]
        )

    def _file(self, path: str, *, content: bool) -> None:
        match = re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path)
        files = self.serves.files(match[1], unquote(match[2])) if match else {}
        if match is None or unquote(match[3]) not in files:
            return self._missing()
        data = files[unquote(match[3])]
        name = self.serves.branches[match[1]].get(unquote(match[2]), match[2])
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{_oid(data)}"')
        self.send_header("X-Repo-Commit", name)
        self.end_headers()
        if content:
            self.serves.fetched.add(unquote(match[3]))
            self.wfile.write(data)
        return None

    def _missing(self) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("X-Error-Message", "Repository not found")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
