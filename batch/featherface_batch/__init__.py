"""Bulk annotation with Ray: any number of photos, every one of them accounted for.

Importing this package is cheap; `featherface_batch.job` imports pyarrow, and running a job imports Ray.
"""

from __future__ import annotations

__all__: list[str] = []
