"""Keep a person: face encoders, and rewards that compare identities."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.identity.consistency import IdentityConsistency
    from accord.identity.dlib_network import DlibFaceNetwork
    from accord.identity.faces import (
        Aligned,
        CallableEncoder,
        DlibFaces,
        FaceEncoder,
        align,
        reference_vector,
        similarity,
    )
else:
    lazy(__name__)

__all__ = [
    "Aligned",
    "CallableEncoder",
    "DlibFaceNetwork",
    "DlibFaces",
    "FaceEncoder",
    "IdentityConsistency",
    "align",
    "reference_vector",
    "similarity",
]
