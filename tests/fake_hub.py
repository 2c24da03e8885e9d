"""A Hugging Face Hub on loopback for tests: the part of the HTTP API that pushing, listing and loading need.

Repositories live in memory; a commit is a snapshot of all files. Failures can be switched on per kind of request:

    with FakeHub() as hub:
        hub.fail("commit", times=2, status=503)
        subprocess.run([...], env=hub.environment(home))

The kinds are the last column of `ROUTES`. Standard library only, but for reading a card's YAML.
"""

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LFS_SUFFIXES = (".safetensors", ".parquet", ".png", ".mp4", ".npy")
USER = "tester"
# Any text that looks like a secret and must therefore never turn up in outputs or files.
TOKEN = "hf_" + "FakeTokenOnlyForTheLoopbackServer0"

ROUTES = (
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/repos/create", "create"),
    ("POST", r"/api/validate-yaml", "validate-yaml"),
    ("POST", r"/api/(?P<type>model|dataset)s/(?P<id>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)", "preupload"),
    ("POST", r"/(?:(?P<type>dataset)s/)?(?P<id>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "lfs-batch"),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "lfs-upload"),
    ("POST", r"/api/(?P<type>model|dataset)s/(?P<id>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)", "commit"),
    ("POST", r"/api/(?P<type>model|dataset)s/(?P<id>[^/]+/[^/]+)/branch/(?P<revision>[^/]+)", "branch"),
    ("GET", r"/api/(?P<type>model|dataset)s/(?P<id>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)/?(?P<path>.*)", "tree"),
    ("POST", r"/api/(?P<type>model|dataset)s/(?P<id>[^/]+/[^/]+)/paths-info/(?P<revision>[^/]+)", "paths-info"),
    ("GET", r"/api/(?P<type>model|dataset)s/(?P<id>[^/]+/[^/]+)(?:/revision/(?P<revision>[^/]+))?", "info"),
    (
        "HEAD|GET",
        r"/(?:(?P<type>dataset)s/)?(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
        "download",
    ),
)
WRITING = {"whoami", "create", "preupload", "lfs-batch", "commit", "branch"}


@dataclass
class Repository:
    """Snapshots by commit id, and branches that name one of them."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {}})
    branches: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})
    messages: list[str] = field(default_factory=list)

    def resolve(self, revision: str | None) -> str | None:
        """Commit id of a branch or commit id, None when there is no such revision."""
        revision = unquote(revision or "main")
        return self.branches.get(revision, revision if revision in self.commits else None)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Contents by path at a revision."""
        return self.commits[self.resolve(revision)]


@dataclass
class Failure:
    """How the next `times` requests of one kind go wrong: a status, or a connection that just ends."""

    times: float
    status: int | None


class FakeHub:
    """The server; use it as a context manager."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large_files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.failures: dict[str, Failure] = {}
        self.lock = threading.Lock()
        handler = type("Handler", (RequestHandler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> "FakeHub":
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def fail(self, kind: str, *, times: float = float("inf"), status: int | None = 503) -> None:
        """Let the next `times` requests of `kind` answer `status`; `status=None` drops the connection instead."""
        self.failures[kind] = Failure(times, status)

    def repository(self, repo_id: str, repo_type: str = "model") -> Repository:
        """The repository that a client created."""
        return self.repositories[repo_type, repo_id]

    def environment(self, home: Path, token: str | None = TOKEN) -> dict[str, str]:
        """Variables for a subprocess that shall talk to this Hub and to nothing else."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        variables |= {"HF_ENDPOINT": self.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), "NO_PROXY": "*"}
        return variables | ({} if token is None else {"HF_TOKEN": token})


class RequestHandler(BaseHTTPRequestHandler):
    """One request: find its kind, fail if told to, else answer from the repositories."""

    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep the test output clean; `FakeHub.requests` is the log."""

    def handle_any(self) -> None:
        """Entry of every method."""
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for methods, pattern, kind in ROUTES:
            match = re.fullmatch(pattern, path)
            if self.command in methods.split("|") and match:
                with self.hub.lock:
                    self.hub.requests.append(kind)
                    self.answer_kind(kind, match.groupdict(), body)
                return
        self.answer(404, {"error": f"the fake Hub does not know {self.command} {path}"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def answer_kind(self, kind: str, names: dict[str, str | None], body: bytes) -> None:
        """Fail as told, check the token of writing requests, look the repository up, and answer."""
        failure = self.hub.failures.get(kind)
        if failure and failure.times > 0:
            failure.times -= 1
            if failure.status is None:
                self.close_connection = True
                self.connection.close()
            else:
                self.answer(failure.status, {"error": "a failure that the test switched on"})
            return
        if kind in WRITING and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"error": "Invalid username or password."})
            return
        answer: Callable[..., None] = getattr(self, "answer_" + kind.replace("-", "_"))
        if names.get("id") is None:
            answer(names, body)
            return
        repository = self.hub.repositories.get((names.get("type") or "model", names["id"]))
        if repository is None:
            self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif kind not in ("branch", "lfs-batch") and repository.resolve(names.get("revision")) is None:
            self.answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        else:
            answer(repository, names, body)

    def answer_whoami(self, names: dict[str, str], body: bytes) -> None:
        """`GET /api/whoami-v2`."""
        self.answer(200, {"type": "user", "name": USER, "orgs": []})

    def answer_create(self, names: dict[str, str], body: bytes) -> None:
        """`POST /api/repos/create`."""
        wish = json.loads(body)
        repo_type = wish.get("type") or "model"
        repo_id = f"{wish.get('organization') or USER}/{wish['name']}"
        exists = (repo_type, repo_id) in self.hub.repositories
        private = wish.get("visibility") == "private" or bool(wish.get("private"))
        self.hub.repositories.setdefault((repo_type, repo_id), Repository(private=private))
        prefix = "" if repo_type == "model" else f"{repo_type}s/"
        self.answer(409 if exists else 200, {"url": f"{self.hub.url}/{prefix}{repo_id}", "id": repo_id})

    def answer_validate_yaml(self, names: dict[str, str], body: bytes) -> None:
        """`POST /api/validate-yaml`: front matter must be a YAML mapping with the types that the Hub asks for."""
        front_matter = re.match(r"---\n(.*?)\n---\n", json.loads(body)["content"], flags=re.DOTALL)
        try:
            metadata = yaml.safe_load(front_matter.group(1)) if front_matter else {}
            errors = _metadata_errors(metadata)
        except yaml.YAMLError as error:
            errors = [str(error)]
        messages = [{"message": error} for error in errors]
        self.answer(400 if errors else 200, {"errors": messages, "warnings": []})

    def answer_preupload(self, repository: Repository, names: dict[str, str], body: bytes) -> None:
        """`POST .../preupload/{revision}`."""
        present = repository.files(names["revision"])
        plan = [
            {
                "path": wish["path"],
                "uploadMode": "lfs" if wish["path"].endswith(LFS_SUFFIXES) else "regular",
                "shouldIgnore": False,
                "oid": _entry(wish["path"], present[wish["path"]])["oid"] if wish["path"] in present else None,
            }
            for wish in json.loads(body)["files"]
        ]
        self.answer(200, {"files": plan})

    def answer_lfs_batch(self, repository: Repository, names: dict[str, str], body: bytes) -> None:
        """`POST /{id}.git/info/lfs/objects/batch`: where to put which large file."""
        objects = []
        for wish in json.loads(body)["objects"]:
            upload = {"upload": {"href": f"{self.hub.url}/lfs/{wish['oid']}"}}
            objects.append(wish if wish["oid"] in self.hub.large_files else {**wish, "actions": upload})
        self.answer(200, {"transfer": "basic", "objects": objects})

    def answer_lfs_upload(self, names: dict[str, str], body: bytes) -> None:
        """`PUT <href>`."""
        if hashlib.sha256(body).hexdigest() != names["oid"]:
            self.answer(400, {"error": "content does not match its sha256"})
            return
        self.hub.large_files[names["oid"]] = body
        self.answer(200, {})

    def answer_commit(self, repository: Repository, names: dict[str, str], body: bytes) -> None:
        """`POST .../commit/{revision}`: all lines of JSON, or nothing."""
        files = dict(repository.files(names["revision"]))
        for line in body.decode().splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "header":
                message = value["summary"]
            elif operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.hub.large_files[value["oid"]]
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
            elif operation["key"] == "deletedFolder":
                files = {path: data for path, data in files.items() if not path.startswith(value["path"])}
        commit = hashlib.sha1(f"{names['id']} {len(repository.commits)} {message}".encode()).hexdigest()
        repository.commits[commit] = files
        repository.branches[unquote(names["revision"])] = commit
        repository.messages.append(message)
        url = f"{self.hub.url}/{names['id']}/commit/{commit}"
        self.answer(200, {"success": True, "commitUrl": url, "commitOid": commit})

    def answer_branch(self, repository: Repository, names: dict[str, str], body: bytes) -> None:
        """`POST .../branch/{name}`."""
        branch = unquote(names["revision"])
        exists = branch in repository.branches
        start = json.loads(body or b"{}").get("startingPoint")
        repository.branches.setdefault(branch, repository.resolve(start))
        self.answer(409 if exists else 200, {"success": not exists})

    def answer_info(self, repository: Repository, names: dict[str, str], body: bytes) -> None:
        """`GET /api/models/{id}` and `/revision/{revision}`."""
        commit = repository.resolve(names["revision"])
        siblings = [{"rfilename": path} for path in repository.commits[commit]]
        content = {"id": names["id"], "modelId": names["id"], "sha": commit, "private": repository.private}
        self.answer(200, {**content, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings})

    def answer_tree(self, repository: Repository, names: dict[str, str], body: bytes) -> None:
        """`GET .../tree/{revision}/{path}`: files and, when not recursive, directories; a missing folder is 404."""
        folder = unquote(names["path"] or "").strip("/")
        prefix = f"{folder}/" if folder else ""
        inside = {p: data for p, data in repository.files(names["revision"]).items() if p.startswith(prefix)}
        if folder and not inside:
            self.answer(404, {"error": "folder not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        recursive = "recursive=true" in self.path.lower()
        entries = [_entry(p, data) for p, data in inside.items() if recursive or "/" not in p[len(prefix) :]]
        folders = {prefix + p[len(prefix) :].split("/")[0] for p in inside if "/" in p[len(prefix) :]}
        entries += [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in sorted(folders)]
        self.answer(200, entries)

    def answer_paths_info(self, repository: Repository, names: dict[str, str], body: bytes) -> None:
        """`POST .../paths-info/{revision}`, a form with one or more `paths`."""
        files = repository.files(names["revision"])
        wanted = parse_qs(body.decode())["paths"]
        self.answer(200, [_entry(path, files[path]) for path in wanted if path in files])

    def answer_download(self, repository: Repository, names: dict[str, str], body: bytes) -> None:
        """`HEAD` or `GET /{id}/resolve/{revision}/{path}`, ranges included."""
        commit = repository.resolve(names["revision"])
        content = repository.commits[commit].get(unquote(names["path"]))
        headers = {"X-Repo-Commit": commit}
        if content is None:
            self.answer(404, {"error": "Entry not found"}, headers | {"X-Error-Code": "EntryNotFound"})
            return
        entry = _entry(names["path"], content)
        headers |= {"ETag": f'"{entry.get("lfs", entry)["oid"]}"', "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted:
            start, end = int(wanted[1]), int(wanted[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            content = content[start : end + 1]
        self.answer(206 if wanted else 200, content, headers)

    def answer(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        """Send bytes as they are, and anything else as JSON."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _entry(path: str, content: bytes) -> dict[str, object]:
    entry = {"type": "file", "path": path, "size": len(content)}
    entry["oid"] = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    if path.endswith(LFS_SUFFIXES):
        # The client compares large files by their sha256.
        entry["oid"] = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": entry["oid"], "size": len(content), "pointerSize": 0}
    return entry


def _metadata_errors(metadata: object) -> list[str]:
    if not isinstance(metadata, dict):
        return ["metadata must be a mapping"]
    errors = [f'"{name}" must be a string' for name in ("license", "pipeline_tag", "library_name")]
    errors = [error for error in errors if not isinstance(metadata.get(error.split('"')[1], ""), str)]
    for name in ("tags", "datasets", "metrics"):
        values = metadata.get(name, [])
        if not (isinstance(values, list) and all(isinstance(value, str) for value in values)):
            errors.append(f'"{name}" must be a list of strings')
    for model in metadata.get("model-index", []):
        for result in model["results"]:
            if not {"task", "dataset", "metrics"} <= set(result):
                errors.append('"model-index" results need task, dataset and metrics')
    return errors
