"""Run the synchronous API on loopback, with a page to try it on and its description.

python -m examples.serve --port 8080
curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8080/v1/detect
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LAST_PORT = 65535
_NEEDED_BY = {"PHOTOS_BUCKET": "POST /v1/uploads", "RESULTS_BUCKET": "GET /v1/results"}


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to {_LAST_PORT}, got {text!r}")
    return int(text)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.serve", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--port", type=_port, default=8080, help="0 takes a free one (default 8080)")
    port = parser.parse_args().port

    # As Lambda does: the functions' folder is the root of their imports, and tracing needs a daemon.
    sys.path.insert(0, str(ROOT / "functions"))
    os.environ.setdefault("POWERTOOLS_TRACE_DISABLED", "true")
    from detect.handler import lambda_handler
    from detect.openapi import document
    from detect.requests import BINARY_TYPES
    from examples.serve.gateway import Page, serve
    from examples.serve.log import show_log
    from examples.serve.site import site
    from examples.serve.swagger import page

    show_log()
    for name, path in _NEEDED_BY.items():
        if not os.environ.get(name):
            print(f"{name} is not set: {path} answers 503 until it names a bucket", file=sys.stderr)
    # bulk jobs are another function's, and need a cluster
    served = document()
    paths = served["paths"].items()
    served["paths"] = {path: item for path, item in paths if not path.startswith("/v1/jobs")}
    used = {
        tag for item in served["paths"].values() for operation in item.values() for tag in operation["tags"]
    }
    served["tags"] = [tag for tag in served["tags"] if tag["name"] in used]
    description = json.dumps(served)
    pages = {
        **site(),
        "/docs": Page("text/html; charset=utf-8", page(description)),
        "/openapi.json": Page("application/json", description.encode()),
    }
    try:
        server = serve(lambda_handler, BINARY_TYPES, pages, port)
    except OSError as error:
        print(f"cannot listen on port {port}: {error.strerror}; choose another by --port", file=sys.stderr)
        return 1
    address = f"http://127.0.0.1:{server.server_port}"
    print(f"{address} takes a photo to try, {address}/docs describes the API; end with Ctrl-C", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 0
    finally:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
