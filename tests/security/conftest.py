"""The web tier as its own tests have it, to be attacked."""

from tests.web.conftest import serve

__all__ = ["serve"]
