"""All Swahili dataset configurations used in EuroEval."""

from ..data_models import DatasetConfig
from ..enums import ModelType
from ..languages import SWAHILI
from ..tasks import NER, SENT, TEXT_CLASSIFICATION
from .named_labels import name_labels

# Official datasets ###

SIB200_SW_CONFIG = DatasetConfig(
    name="sib200-sw",
    pretty_name="SIB-200-sw",
    source="Davlan/sib200::swh_Latn",
    task=TEXT_CLASSIFICATION,
    languages=[SWAHILI],
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

WIKIANN_SW_CONFIG = DatasetConfig(
    name="wikiann-sw",
    pretty_name="WikiANN-sw",
    source="unimelb-nlp/wikiann::sw",
    task=NER,
    languages=[SWAHILI],
    labels=["o", "b-per", "i-per", "b-org", "i-org", "b-loc", "i-loc"],
    val_split="validation",
    preprocessing_func=name_labels(
        source="ner_tags",
        target="labels",
        names=["o", "b-per", "i-per", "b-org", "i-org", "b-loc", "i-loc"],
    ),
    allowed_model_types=[ModelType.ENCODER],
)

AFRISENTI_SW_CONFIG = DatasetConfig(
    name="afrisenti-sw",
    pretty_name="AfriSenti-sw",
    source="masakhane/afrisenti::swa",
    task=SENT,
    languages=[SWAHILI],
    labels=["positive", "neutral", "negative"],
    val_split="validation",
    preprocessing_func=name_labels(
        source="label",
        target="label",
        names=["positive", "neutral", "negative"],
    ),
    allowed_model_types=[ModelType.ENCODER],
)
