"""A network with one way out: what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say is done, by a real proxy with a real tunnel."""

import base64
import ssl
import subprocess

import gevent
import pytest
from gevent.server import StreamServer

from chatapp.kernel.errors import ProviderError
from chatapp.providers import event_stream
from chatapp.providers.gemini import GeminiProvider
from chatapp.providers.openai import OpenAICompatibleProvider
from chatapp.providers.proxy import is_exempt, proxy_for
from tests.scripted_gemini import ScriptedGemini
from tests.scripted_gemini import says as gemini_says
from tests.scripted_openai import ScriptedOpenAI, says


class RealProxy:
    """Forwards http and opens tunnels, to one server whatever host is asked for, and keeps what was asked."""

    def __init__(self, port, password=None):
        self.asked = []
        self._port, self._password = port, password
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()

    @property
    def url(self):
        login = f"me:{self._password}@" if self._password else ""
        return f"http://{login}127.0.0.1:{self._server.server_port}"

    def stop(self):
        self._server.stop(timeout=0)

    def _serve(self, client, _address):
        with client:
            self._answer(client)

    def _answer(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            if not (new := client.recv(65536)):
                return
            head += new
        first, _, rest = head.partition(b"\r\n")
        self.asked.append(first.decode())
        wanted = base64.b64encode(f"me:{self._password}".encode())
        if self._password and wanted not in head:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        with gevent.socket.create_connection(("127.0.0.1", self._port)) as upstream:
            self._forward(client, upstream, first, rest)

    def _forward(self, client, upstream, first, rest):
        if first.startswith(b"CONNECT"):
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            method, url, version = first.split(b" ")
            path = b"/" + url.split(b"/", 3)[3]
            upstream.sendall(b" ".join([method, path, version]) + b"\r\n" + rest)
        gevent.joinall([gevent.spawn(_copy, client, upstream), gevent.spawn(_copy, upstream, client)])


def _copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(1)
    except OSError:
        pass


@pytest.fixture
def openai():
    server = ScriptedOpenAI().start()
    yield server
    server.stop()


@pytest.fixture
def gemini():
    server = ScriptedGemini().start()
    yield server
    server.stop()


@pytest.fixture
def environment(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


def answer(provider, ask):
    try:
        return "".join(chunk.delta for chunk in provider.stream(ask()))
    finally:
        provider.close()


@pytest.mark.parametrize("password", [None, "p%40ss"])
def test_http_goes_through_the_proxy(openai, environment, ask, password):
    proxy = RealProxy(int(openai.url.split(":")[2].split("/")[0]), password and "p@ss")
    environment("HTTP_PROXY", proxy.url.replace("p@ss", "p%40ss"))
    openai.script(says("It is four.", finish="stop"))

    assert answer(OpenAICompatibleProvider("http://models.example.invalid/v1"), ask) == "It is four."
    assert proxy.asked == ["POST http://models.example.invalid/v1/chat/completions HTTP/1.1"]
    assert "proxy-authorization" in openai.requests[-1].headers or password is None
    proxy.stop()


@pytest.mark.parametrize("client", ["rest", "sdk"])
def test_gemini_goes_through_the_proxy_with_either_client(gemini, environment, ask, client):
    proxy = RealProxy(int(gemini.url.rpartition(":")[2]), "p@ss")
    environment("HTTP_PROXY", proxy.url.replace("p@ss", "p%40ss"))
    gemini.script(gemini_says("It is four."))

    assert answer(GeminiProvider("key", "http://models.example.invalid", client=client), ask) == "It is four."
    assert len(proxy.asked) == 1
    assert proxy.asked[0].startswith("POST http://models.example.invalid/v1beta/models/gemini-2.5-flash:stream")
    proxy.stop()


@pytest.mark.parametrize("client", ["rest", "sdk"])
def test_gemini_is_reached_directly_in_a_network_of_no_proxy(gemini, environment, ask, client):
    environment("HTTP_PROXY", "http://127.0.0.1:9")
    environment("NO_PROXY", "127.0.0.0/8")
    gemini.script(gemini_says("It is four."))

    assert answer(GeminiProvider("key", gemini.url, client=client), ask) == "It is four."


def test_https_goes_through_a_tunnel(openai, environment, ask, tmp_path, monkeypatch):
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=models.example.invalid"
    names = ["-addext", "subjectAltName=DNS:models.example.invalid", "-keyout", tmp_path / "k", "-out", tmp_path / "c"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "c", tmp_path / "k")
    secure = StreamServer(("127.0.0.1", 0), openai._serve, ssl_context=serving)
    secure.start()
    trusting = ssl.create_default_context(cafile=str(tmp_path / "c"))
    monkeypatch.setattr(event_stream.ssl, "create_default_context", lambda: trusting)
    proxy = RealProxy(secure.server_port)
    environment("HTTPS_PROXY", proxy.url)
    openai.script(says("It is four.", finish="stop"))

    assert answer(OpenAICompatibleProvider("https://models.example.invalid/v1"), ask) == "It is four."
    assert proxy.asked == ["CONNECT models.example.invalid:443 HTTP/1.1"]
    proxy.stop()
    secure.stop(timeout=0)


def test_a_proxy_that_is_not_there_is_named(environment, ask, caplog):
    environment("HTTPS_PROXY", "http://me:secret@127.0.0.1:9")

    with pytest.raises(ProviderError):
        answer(OpenAICompatibleProvider("https://models.example.invalid/v1"), ask)

    assert "the proxy: " in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "address", ["http://me:se/cret@proxy:3128", "http://proxy:cret", "http://[cret", "ftp://cret:1"]
)
def test_an_address_of_a_proxy_that_cannot_be_names_its_variable_and_no_password(environment, address):
    environment("HTTPS_PROXY", address)

    with pytest.raises(ValueError, match="HTTPS_PROXY") as raised:
        proxy_for("https", "models.example.invalid", 443)
    assert "cret" not in str(raised.value)


def test_a_host_of_no_proxy_is_reached_directly(openai, environment, ask):
    environment("HTTP_PROXY", "http://127.0.0.1:9")
    environment("NO_PROXY", "localhost,127.0.0.1")
    openai.script(says("It is four.", finish="stop"))

    assert answer(OpenAICompatibleProvider(openai.url), ask) == "It is four."


def test_a_proxy_that_refuses_is_named_without_its_password(environment, ask, caplog):
    proxy = RealProxy(9, "right")
    environment("HTTPS_PROXY", proxy.url.replace("right", "wrong-and-secret"))

    with pytest.raises(ProviderError):
        answer(OpenAICompatibleProvider("https://models.example.invalid/v1"), ask)

    assert "the proxy answered 407" in caplog.text
    assert "secret" not in caplog.text
    proxy.stop()


@pytest.mark.parametrize(
    ("host", "listed", "expected"),
    [
        ("api.example.org", "example.org", True),
        ("api.example.org", ".example.org", True),
        ("example.org", ".example.org", True),
        ("badexample.org", "example.org", False),
        ("api.example.org", "*.example.org, other", True),
        ("api.example.org", "api.example.org:8080", False),
        ("api.example.org", "API.EXAMPLE.ORG:443", True),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("::1", "[::1]", True),
        ("anything", "*", True),
        ("anything", "", False),
    ],
)
def test_no_proxy_is_read_as_other_tools_read_it(host, listed, expected):
    assert is_exempt(host, 443, listed) is expected


def test_a_proxy_of_a_kind_that_is_not_known_names_its_variable(environment):
    environment("HTTPS_PROXY", "socks5://127.0.0.1:1080")

    with pytest.raises(ValueError, match="HTTPS_PROXY"):
        proxy_for("https", "models.example.invalid", 443)
