"""What can be computed of each scale, with the reason where it cannot."""

from analysis_lib.results.problems import NotComputed
from analysis_lib.results.section import UNANSWERED


class ByScale(dict):
    """Results by name of the scale: one that cannot be computed takes no other with it.

    ``reasons`` holds why, by scale. To ask for such a one is a `NotComputed` with its reason.
    """

    def __init__(self, compute, scales):
        super().__init__()
        self.reasons = {}
        for scale in scales:
            try:
                self[scale] = compute(scale)
            except UNANSWERED as error:
                self.reasons[scale] = str(error)

    def __missing__(self, scale):
        raise NotComputed(f"{scale}: {self.reasons.get(scale, 'not rated after baseline')}")
