"""The model families: where each keeps its parts, and its masked-language-model head."""
