"""`pixtral doctor`: what this machine has, and what to do about what it lacks."""

from pixtral_cli.doctor.check import Check, show
from pixtral_cli.doctor.examine import examine

__all__ = ["Check", "examine", "show"]
