"""All Maltese dataset configurations used in EuroEval."""

from ..data_models import DatasetConfig
from ..enums import ModelType
from ..languages import MALTESE
from ..tasks import NER, SENT, TEXT_CLASSIFICATION
from .named_labels import name_labels

# Official datasets ###

SIB200_MT_CONFIG = DatasetConfig(
    name="sib200-mt",
    pretty_name="SIB-200-mt",
    source="Davlan/sib200::mlt_Latn",
    task=TEXT_CLASSIFICATION,
    languages=[MALTESE],
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

WIKIANN_MT_CONFIG = DatasetConfig(
    name="wikiann-mt",
    pretty_name="WikiANN-mt",
    source="unimelb-nlp/wikiann::mt",
    task=NER,
    languages=[MALTESE],
    labels=["o", "b-per", "i-per", "b-org", "i-org", "b-loc", "i-loc"],
    val_split="validation",
    preprocessing_func=name_labels(
        source="ner_tags",
        target="labels",
        names=["o", "b-per", "i-per", "b-org", "i-org", "b-loc", "i-loc"],
    ),
    allowed_model_types=[ModelType.ENCODER],
)

SENTIMENT_MT_CONFIG = DatasetConfig(
    name="sentiment-mt",
    pretty_name="Sentiment-mt",
    source="amitness/sentiment-mt",
    task=SENT,
    languages=[MALTESE],
    labels=["negative", "positive"],
    val_split="validation",
    preprocessing_func=name_labels(
        source="label",
        target="label",
        names=["negative", "positive"],
    ),
    allowed_model_types=[ModelType.ENCODER],
)
