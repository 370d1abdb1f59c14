"""Trained models: on disk, acting, and handed on to other algorithms."""

from headstart.artifact.model import Artifact
from headstart.artifact.transfer import Report, Row, transfer

__all__ = ["Artifact", "Report", "Row", "transfer"]
