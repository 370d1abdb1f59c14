"""Trained models: on disk, acting, and handed on to other algorithms."""

from headstart.artifact.model import Artifact
from headstart.artifact.prompt import Prompted
from headstart.artifact.skills import Skills
from headstart.artifact.start import Use, features_of, start
from headstart.artifact.transfer import Report, Row, transfer

__all__ = ["Artifact", "Prompted", "Report", "Row", "Skills", "Use", "features_of", "start", "transfer"]
