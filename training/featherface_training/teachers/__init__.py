"""Teachers: networks whose outputs, prior by prior, features or detections a student is to reproduce."""

from .ensemble import Ensemble
from .foreign import ForeignTeacher
from .lesson import Lesson, TeacherError

__all__ = ["Ensemble", "ForeignTeacher", "Lesson", "TeacherError"]
