"""Overlap of captions with references: BLEU, METEOR, ROUGE-L, CIDEr-D, without Java."""

from terraloom.caption_metrics.evaluation import METRICS, CaptionScores, evaluate_captions
from terraloom.caption_metrics.tokens import tokenise

__all__ = ["METRICS", "CaptionScores", "evaluate_captions", "tokenise"]
