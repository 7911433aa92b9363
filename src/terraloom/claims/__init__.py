"""Claims of captions: read from free English, and checked against what a mask shows."""

from terraloom.claims.checking import check_caption, check_claim
from terraloom.claims.claim import (
    KINDS,
    MAX_CHARACTERS,
    VERDICTS,
    CheckedCaption,
    CheckedClaim,
    Claim,
    ClaimKind,
    ClaimVerdict,
)
from terraloom.claims.feedback import feedback
from terraloom.claims.reading import read_claims

__all__ = [
    "KINDS",
    "MAX_CHARACTERS",
    "VERDICTS",
    "CheckedCaption",
    "CheckedClaim",
    "Claim",
    "ClaimKind",
    "ClaimVerdict",
    "check_caption",
    "check_claim",
    "feedback",
    "read_claims",
]
