"""Pure objectives: arrays in, one scalar per example out."""

from jaxinterp.losses.suppression import (
    SuppressionReference as SuppressionReference,
    SuppressionTerms as SuppressionTerms,
    suppression_loss as suppression_loss,
    suppression_reference as suppression_reference,
    suppression_terms as suppression_terms,
)
