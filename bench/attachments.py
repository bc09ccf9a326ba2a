"""Measure uploads against the product in a process of its own: .venv/bin/python -m bench.attachments [--uploads 20]

  one upload           seconds from the first byte to the answer, alone, median of five: a photo of 12 million pixels,
                       a PDF of 20 MB, a text
  uploads at once      the PDF this many times in parallel: seconds until the last 201, and how many were accepted
  healthz              milliseconds of /healthz, asked every 20 ms meanwhile and before: what others feel
  memory               of all processes (Pss), before, at most meanwhile, and two seconds after
  bombs                pictures and PDFs made to hurt, in parallel: their answers, and /healthz meanwhile

On a busy machine the clients compete with the product: compare with the figures before.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

from PIL import Image

from bench.start import answers, free_port, memory_bytes, tree

ROOT = Path(__file__).resolve().parents[1]
MEGABYTE = 1_000_000
PASSWORD = b"a long enough password 7"


def photo() -> bytes:
    """A photo of 12 million pixels with as much noise as a camera's."""
    image = Image.effect_noise((4000, 3000), 40).convert("RGB")
    out = BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()


def pdf(megabytes: int) -> bytes:
    """A PDF of one page and of bytes that nobody reads."""
    ballast = random.Random(1).randbytes(megabytes * MEGABYTE)
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\n"
        b"4 0 obj<</Length " + str(len(ballast)).encode() + b">>stream\n" + ballast + b"\nendstream endobj\n"
        b"trailer<</Root 1 0 R/Size 5>>\nstartxref\n0\n%%EOF"
    )


def bombs() -> dict[str, bytes]:
    out = BytesIO()
    Image.new("1", (13_000, 13_000)).save(out, "PNG")
    small = BytesIO()
    Image.new("RGB", (6000, 6000)).save(small, "JPEG", progressive=True)
    scans = small.getvalue()
    start = scans.rindex(b"\xff\xda")
    kids = b" ".join(b"3 0 R" for _ in range(20_000))
    many = (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Count 1/Kids["
        + kids
        + b"]>>endobj\n"
    )
    many += b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\n"
    many += b"trailer<</Root 1 0 R/Size 4>>\nstartxref\n0\n%%EOF"
    return {
        "169 million pixels": out.getvalue(),
        "300 more scans": scans[:-2] + scans[start:-2] * 300 + scans[-2:],
        "20,000 pages": many,
        "cut short": photo()[:-5000],
    }


class Product:
    """The product, one user's key and one chat."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        limits = {"CALLS_PER_MINUTE": "1000000", "RATE_LIMITS": "false", "ATTACHMENT_QUOTA_BYTES": str(10**10)}
        env = {**kept, **limits, "PORT": str(port), "INSTANCE_DIR": str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn"], cwd=ROOT, env=env, stdout=subprocess.DEVNULL
        )
        while not answers(f"{self.url}/healthz"):
            time.sleep(0.05)
        flask = [sys.executable, "-m", "flask", "--app", "wsgi"]
        email = "bench@example.org"
        create = [*flask, "users", "create", email, "--password-stdin"]
        subprocess.run(create, cwd=ROOT, env=env, input=PASSWORD, check=True, stdout=subprocess.DEVNULL)
        done = subprocess.run([*flask, "keys", "create", email], cwd=ROOT, env=env, check=True, capture_output=True)
        self.key = done.stdout.decode().strip()
        status, body = self.call("/api/chat", b"{}", "application/json")
        assert status == 201, body
        self.chat = body.partition(b'"id":"')[2][:36].decode()

    def call(self, path: str, data: bytes, kind: str) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": kind}
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def upload(self, data: bytes) -> int:
        return self.call(f"/api/chat/{self.chat}/attachments", data, "application/octet-stream")[0]

    def upload_well(self, data: bytes) -> None:
        if (status := self.upload(data)) != 201:
            raise RuntimeError(f"an upload was answered {status}")

    def memory(self) -> float:
        while True:
            try:
                return memory_bytes(tree(self.process.pid), "Pss") / MEGABYTE
            except (FileNotFoundError, ProcessLookupError, IndexError):
                continue  # A child ended in between.


class Watch:
    """What others feel meanwhile: times of /healthz, and the most memory."""

    def __init__(self, product: Product) -> None:
        self._product, self._is_over = product, threading.Event()
        self.times: list[float] = []
        self.most_memory = 0.0
        self._threads = [threading.Thread(target=self._ask), threading.Thread(target=self._weigh)]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._is_over.wait(0.02):
            began = time.perf_counter()
            answers(f"{self._product.url}/healthz")
            self.times.append((time.perf_counter() - began) * 1000)

    def _weigh(self) -> None:
        while not self._is_over.wait(0.1):
            self.most_memory = max(self.most_memory, self._product.memory())

    def __str__(self) -> str:
        times = sorted(self.times)
        p50, p99 = statistics.median(times), times[len(times) * 99 // 100]
        return f"healthz p50 {p50:.0f}, p99 {p99:.0f}, most {times[-1]:.0f} ms"


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def run(product: Product, uploads: int) -> None:
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    large = pdf(20)
    for name, data in (("photo of 12 megapixels", photo()), ("PDF of 20 MB", large), ("text", b"word " * 30_000)):
        seconds = [timed(lambda data=data: product.upload_well(data)) for _ in range(5)]  # type: ignore[misc]
        print(f"one {name} ({len(data) / MEGABYTE:.1f} MB): {statistics.median(seconds):.2f} s")
    with Watch(product) as before:
        time.sleep(3)
    print(f"before: {before}; memory {product.memory():.0f} MB")
    with Watch(product) as watch, ThreadPoolExecutor(uploads) as pool:
        began = time.perf_counter()
        statuses = list(pool.map(product.upload, [large] * uploads))
        seconds_all = time.perf_counter() - began
    time.sleep(2)
    print(f"{uploads} uploads of 20 MB at once: answers {dict(Counter(statuses))} in {seconds_all:.1f} s; {watch}")
    print(f"memory at most {watch.most_memory:.0f} MB, afterwards {product.memory():.0f} MB")
    hostile = bombs()
    with Watch(product) as watch, ThreadPoolExecutor(4) as pool:
        answered = dict(zip(hostile, pool.map(product.upload, hostile.values()), strict=True))
    print(f"bombs {answered}: {watch}; memory at most {watch.most_memory:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=20)
    uploads = parser.parse_args().uploads
    with tempfile.TemporaryDirectory() as folder:
        product = Product(Path(folder))
        try:
            run(product, uploads)
        finally:
            product.process.terminate()
            product.process.wait()


if __name__ == "__main__":
    main()
