"""Ground: typed result tables, numbers, words for numbers, hashes, files written whole."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "environment": [
            "PROJECT",
        ],
        "problems": [
            "StudyError",  # A study file, or the data it points to, breaks the contract
        ],
        "reading": [
            "read_json",  # read a result of kind JSON; raises as :func:`read_table` does
            "read_table",  # read a result table
            "require",  # raise MissingFile
        ],
        "words": [
            "p_text",  # A p-value as it is printed
            "true_minus",  # hyphens that stand for a minus as minus signs
            "visit_words",  # visits as prose says them
        ],
        "writing": [
            "write",  # write result files whole or not at all
            "write_numbers",  # put the numbers that a text or figure quotes into numbers.json
        ],
    },
)
