"""What is left of the limits by which a request was counted, as its answer tells it (draft-ietf-httpapi-ratelimit-headers)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from starlette.types import Scope

from rmindr.limits import Left


def quotas(scope: Scope) -> Mapping[str, str]:
    """E.g. {"RateLimit-Policy": '"token";q=100;w=60', "RateLimit": '"token";r=42;t=35'}: all limits that counted this request,
    and what is left of the one that is nearest to its end. Nothing where none did, as with whatever only reads."""
    left: Sequence[Left] = scope.get("state", {}).get("left", ())
    if not left:
        return {}
    told = {each.limit.name: each for each in left}
    scarcest = min(told.values(), key=lambda each: each.count / each.limit.count)
    policies = (
        f'"{name}";q={each.limit.count};w={round(each.limit.per.total_seconds())}' for name, each in told.items()
    )
    return {
        "RateLimit-Policy": ", ".join(policies),
        "RateLimit": f'"{scarcest.limit.name}";r={scarcest.count};t={math.ceil(scarcest.full_in.total_seconds())}',
    }
