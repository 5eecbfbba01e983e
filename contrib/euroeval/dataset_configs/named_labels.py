"""Names in place of the numbers that data sets on the hub have for labels."""

import collections.abc as c

from datasets import DatasetDict

_NUMBERS = "numbers_of_labels"


def name_labels(source: str, target: str, names: c.Sequence[str]) -> c.Callable[[DatasetDict], DatasetDict]:
    """Return a preprocessing function that replaces numbered labels by their names.

    Args:
        source:
            The column with the numbers: one for each example, or one for each word.
        target:
            The column to write the names to.
        names:
            The names of the labels 0, 1, ...

    Returns:
        The preprocessing function.
    """

    def name(numbers: int | list[int]) -> str | list[str]:
        return names[numbers] if isinstance(numbers, int) else [names[number] for number in numbers]

    def preprocess(dataset: DatasetDict) -> DatasetDict:
        return dataset.rename_column(source, _NUMBERS).map(
            lambda example: {target: name(example[_NUMBERS])}, remove_columns=[_NUMBERS]
        )

    return preprocess
