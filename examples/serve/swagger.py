"""One page with Swagger UI, from the copy that Powertools brings along: nothing is fetched from elsewhere."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["page"]

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>FeatherFace API</title><style>{style}</style></head>
<body><div id="ui"></div><script>{script}</script>
<script>SwaggerUIBundle({{dom_id: "#ui", spec: {description}}});</script></body>
</html>
"""


def page(description: str) -> bytes:
    """Return the page for an OpenAPI description (JSON)."""
    folder = files("aws_lambda_powertools.event_handler.openapi.swagger_ui")
    return _PAGE.format(
        style=folder.joinpath("swagger-ui.min.css").read_text(encoding="utf-8"),
        script=folder.joinpath("swagger-ui-bundle.min.js").read_text(encoding="utf-8"),
        # "</" inside of a script would end it
        description=description.replace("</", "<\\/"),
    ).encode()
