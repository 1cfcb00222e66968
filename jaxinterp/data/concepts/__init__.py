"""Images labelled with concepts: what networks are dissected with."""

from jaxinterp.data.concepts.batches import ConceptBatch, concept_batches
from jaxinterp.data.concepts.colours import read_colour_table, with_colours
from jaxinterp.data.concepts.concept_set import Concept, ConceptSample, ConceptSet
from jaxinterp.data.concepts.joined import join
from jaxinterp.data.concepts.source import read_concepts

__all__ = [
    "Concept",
    "ConceptBatch",
    "ConceptSample",
    "ConceptSet",
    "concept_batches",
    "join",
    "read_colour_table",
    "read_concepts",
    "with_colours",
]
