"""What routes speak to, each as a dependency."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from rmindr.afterwards import Afterwards
from rmindr.people import People
from rmindr.signing import Signer


def people_of(request: Request) -> People:
    """The people of this application."""
    people: People = request.app.state.people
    return people


def signer_of(request: Request) -> Signer:
    """Who signs the links of this application."""
    signer: Signer = request.app.state.signer
    return signer


def afterwards_of(request: Request) -> Afterwards:
    """The acts of this application."""
    acts: Afterwards = request.app.state.afterwards
    return acts


Folk = Annotated[People, Depends(people_of)]
Signs = Annotated[Signer, Depends(signer_of)]
Acts = Annotated[Afterwards, Depends(afterwards_of)]
