"""Where each frame of a sequence lies with respect to one of them, and how well that is known."""

from sciSR.fusion.registration.refine import refine
from sciSR.fusion.registration.register import register
from sciSR.fusion.registration.results import Registered, Registration

__all__ = ["Registered", "Registration", "refine", "register"]
