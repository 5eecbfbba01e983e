"""All Tagalog dataset configurations used in EuroEval."""

from ..data_models import DatasetConfig
from ..enums import ModelType
from ..languages import TAGALOG
from ..tasks import NER, TEXT_CLASSIFICATION
from .named_labels import name_labels

# Official datasets ###

SIB200_TL_CONFIG = DatasetConfig(
    name="sib200-tl",
    pretty_name="SIB-200-tl",
    source="Davlan/sib200::tgl_Latn",
    task=TEXT_CLASSIFICATION,
    languages=[TAGALOG],
    labels=[
        "entertainment",
        "geography",
        "health",
        "politics",
        "science/technology",
        "sports",
        "travel",
    ],
    val_split="validation",
    target_column="category",
    allowed_model_types=[ModelType.ENCODER],
)

WIKIANN_TL_CONFIG = DatasetConfig(
    name="wikiann-tl",
    pretty_name="WikiANN-tl",
    source="unimelb-nlp/wikiann::tl",
    task=NER,
    languages=[TAGALOG],
    labels=["o", "b-per", "i-per", "b-org", "i-org", "b-loc", "i-loc"],
    val_split="validation",
    preprocessing_func=name_labels(
        source="ner_tags",
        target="labels",
        names=["o", "b-per", "i-per", "b-org", "i-org", "b-loc", "i-loc"],
    ),
    allowed_model_types=[ModelType.ENCODER],
)
