"""The report: findings in words, the page, where every number comes from."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "display": [
            "by_visit",  # observed means, a column per visit
            "table",  # A table as it is printed
        ],
        "sentences": [
            "findings",  # what the results of one notebook say, in Markdown
            "notice",  # what a reader must know before any number, in Markdown
            "receptor_notice",  # what a reader must know of the receptor maps, in Markdown
        ],
        "trials": [
            "side_by_side",  # results of the gallery's trials, in three tables
        ],
    },
)
