from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from examples.serve.gateway import Page, serve, serving
from examples.serve.site import site

from featherface import Detector, load_settings

ROOT = Path(__file__).parents[3]


def test_a_developer_s_server_answers_and_describes_itself(sample: Callable[[str], bytes]) -> None:
    environ = {**os.environ, "FEATHERFACE_INPUT_SIZE": "320", "FEATHERFACE_CONFIDENCE_THRESHOLD": "0.0"}
    environ["FEATHERFACE_MAX_DETECTIONS"] = "3"
    command = [sys.executable, "-m", "examples.serve", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[0]
        assert url.startswith("http://127.0.0.1:")
        photo = sample("coffee.webp")
        request = urllib.request.Request(f"{url}/v1/detect", photo, {"Content-Type": "image/webp"})
        with urllib.request.urlopen(request) as answer:
            found = json.loads(answer.read())
        expected = Detector.load(settings=load_settings(environ=environ)).detect(photo).to_dict()
        assert {name: found[name] for name in expected} == expected
        with urllib.request.urlopen(f"{url}/") as answer:
            assert answer.headers["Content-Type"].startswith("text/html")
            assert answer.read() == (ROOT / "web" / "index.html").read_bytes()
        with urllib.request.urlopen(f"{url}/docs") as answer:
            assert b"SwaggerUIBundle" in answer.read()
        with urllib.request.urlopen(f"{url}/openapi.json") as answer:
            described = json.loads(answer.read())
        committed = json.loads((ROOT / "openapi.json").read_bytes())
        # bulk jobs are another function's
        served = {path: item for path, item in committed["paths"].items() if "jobs" not in path}
        tags = [tag for tag in committed["tags"] if "jobs" not in tag["name"]]
        assert described == {**committed, "paths": served, "tags": tags}
    finally:
        process.terminate()
        process.wait(60)


def test_a_reason_that_an_answer_withholds_is_printed_by_its_request_id(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "PHOTOS_BUCKET"}
    environ |= {"FEATHERFACE_INPUT_SIZE": "320", "RESULTS_BUCKET": "results"}
    command = [sys.executable, "-m", "examples.serve", "--port", "0"]
    log = tmp_path / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[0]
        named = log.read_text()
        assert "PHOTOS_BUCKET is not set: POST /v1/uploads answers 503" in named
        assert "RESULTS_BUCKET" not in named
        request = urllib.request.Request(f"{url}/v1/uploads", b"", method="POST")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        problem = json.loads(caught.value.read())
        assert (problem["status"], problem["code"]) == (503, "setup")
        (line,) = (line for line in log.read_text().splitlines() if "the request failed" in line)
        for told in (problem["request_id"], "error_code: setup", "variable PHOTOS_BUCKET is not set"):
            assert told in line
    finally:
        process.terminate()
        process.wait(60)


def test_pages_are_found_whatever_query_comes_along_and_chunks_are_refused(
    detect_handler: Callable[..., dict[str, Any]],
) -> None:
    server = serve(detect_handler, (), {"/": Page("text/html", b"page"), "/docs": Page("text/html", b"docs")})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
        for target, content in {"/?x=1": b"page", "/docs/": b"docs"}.items():
            connection.request("GET", target)
            assert connection.getresponse().read() == content
            connection.request("HEAD", target)
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Content-Length"], answer.read()) == (200, "4", b"")
        connection.request("POST", "/v1/detect", iter([b"photo"]), {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        assert answer.status == 411
        problem = json.loads(answer.read())
        assert (problem["code"], problem["status"]) == ("length_required", 411)
    finally:
        server.shutdown()
        server.server_close()


def test_who_goes_on_sending_still_gets_the_refusal(detect_handler: Callable[..., dict[str, Any]]) -> None:
    head = b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nphoto\r\n"
    with (
        serving(detect_handler, ()) as address,
        socket.create_connection(("127.0.0.1", urlsplit(address).port), timeout=10) as client,
    ):
        client.sendall(head)
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
        # each of these would break on a connection that the server had reset
        for _ in range(3):
            client.sendall(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 411 ")
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize(("photo_bytes", "status"), [(4_700_000, 200), (4_800_000, 413), (10_500_000, 413)])
def test_what_lambda_would_not_take_is_refused_as_there(photo_bytes: int, status: int) -> None:
    def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
        return {"statusCode": 200, "headers": {}, "body": str(len(event["body"]))}

    with serving(handler, ("image/jpeg",)) as address:
        connection = http.client.HTTPConnection(urlsplit(address).netloc)
        connection.request("POST", "/v1/detect", bytes(photo_bytes), {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        assert answer.status == status
        if status != 200:
            problem = json.loads(answer.read())
            assert (problem["code"], "4.5 MB" in problem["detail"]) == ("payload_too_large", True)


@pytest.mark.parametrize("port", ["99999", "-1", "http"])
def test_a_port_that_is_none_is_a_usage_error(port: str) -> None:
    command = [sys.executable, "-m", "examples.serve", f"--port={port}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected a port from 0 to 65535" in done.stderr


def test_the_page_has_all_that_it_refers_to_and_asks_nobody_else() -> None:
    pages = site()
    texts = {name: page.content.decode() for name, page in pages.items() if "charset" in page.media_type}
    references = [
        *re.findall(r'(?:href|src)="([^"]+)"', texts["/"]),
        *re.findall(r'from "\./([^"]+)"', texts["/main.js"]),
        *(f"photos/{name}" for name in re.findall(r'"([\w.]+\.(?:jpg|png|webp))"', texts["/main.js"])),
    ]
    assert {"style.css", "main.js", "api.js", "photos/group.jpg"} <= set(references)
    served = {*pages, "/docs", "/data:,"}
    assert not {f"/{reference}" for reference in references} - served
    assert not [name for name, text in texts.items() if re.search(r"https?://", text)]
    assert all(f'id="{name}"' in texts["/"] for name in re.findall(r'by\("(\w+)"\)', texts["/main.js"]))


def test_the_page_s_options_are_the_api_s() -> None:
    described = json.loads((ROOT / "openapi.json").read_bytes())
    options = {
        entry["name"]: entry["schema"] for entry in described["paths"]["/v1/detect"]["post"]["parameters"]
    }
    page, script = ((ROOT / "web" / name).read_text() for name in ("index.html", "main.js"))
    sent = re.findall(r"(\w+): by\(", script)
    assert sent
    assert set(sent) <= set(options)
    size = options["input_size"]
    for value in map(int, re.findall(r'<option value="(\d+)"', page)):
        assert size["minimum"] <= value <= size["maximum"]
        assert value % size["multipleOf"] == 0


def luminance(colour: str) -> float:
    """Return the relative luminance of #rgb or #rrggbb (WCAG 2.2)."""
    digits = colour.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_edges_of_controls_and_the_focus_can_be_seen(scheme: str) -> None:
    """WCAG 2.2, 1.4.11: three to one against what is around them."""
    style = (ROOT / "web/style.css").read_text()
    light, dark = re.findall(r":root \{([^}]*)\}", style)
    colours = dict(re.findall(r"--(\w+): (#\w+)", light if scheme == "light" else dark))
    for foreground in ("edge", "accent"):
        for background in ("paper", "card"):
            pair = sorted((luminance(colours[foreground]), luminance(colours[background])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 3, (foreground, background)
    assert "outline: none" not in style
    for control in ("#drop", "#samples button", "select", "#actions button"):
        rules = re.findall(rf"^{re.escape(control)} \{{([^}}]*)\}}", style, flags=re.MULTILINE)
        assert any("solid var(--edge)" in rule or "dashed var(--edge)" in rule for rule in rules), control


def test_what_can_be_chosen_has_a_name_that_says_what_it_is() -> None:
    page, script = ((ROOT / "web" / name).read_text() for name in ("index.html", "main.js"))
    samples = dict(re.findall(r'^  "([\w.]+\.(?:jpg|png|webp))": "([^"]+)",$', script, flags=re.MULTILINE))
    assert len(samples) == len(set(samples.values())) == 6
    assert not [name for name, said in samples.items() if name in said]
    assert samples["sideways.jpg"] == "a portrait stored sideways (EXIF)"
    shown = re.findall(r'name="show" value="(\w+)"(?: checked)?> ([^<]+)<', page)
    assert dict(shown)["landmarks"] == "boxes and landmarks"
