"""The contrasts of the images: their names, and what they are called."""

from dataclasses import dataclass

ACTIVE_CHANGE, CONTROL_CHANGE = "active_change", "control_change"
ARM_BY_TIME = "arm_by_time"  # the difference between the arms
IMPROVEMENT = "improvement"
CHANGE = "change"  # of a study without a control arm
EFFECT = "effect"  # one map that somebody else made


@dataclass(frozen=True)
class Contrast:
    """A contrast of the images."""

    name: str  # in tables and names of files
    words: str  # in a sentence, around {active} and {control}, the arms' names
    title: str  # the same, above a picture
    arms: tuple = ("active", "control")  # whose participants it compares

    @property
    def within(self):
        """The arm within which it is the mean change, or None."""
        return self.arms[0] if len(self.arms) == 1 else None


CONTRASTS = {
    contrast.name: contrast
    for contrast in (
        Contrast(ACTIVE_CHANGE, "the change with {active}", "Change with {active}", ("active",)),
        Contrast(
            CONTROL_CHANGE, "the change with {control}", "Change with {control}", ("control",)
        ),
        Contrast(
            ARM_BY_TIME,
            "the difference in change between {active} and {control}",
            "Change, {active} − {control}",
        ),
        Contrast(
            IMPROVEMENT,
            "the relation of change to clinical improvement, within arms",
            "Change with clinical improvement, within arms",
        ),
        Contrast(CHANGE, "the change", "Change", arms=("active",)),
        Contrast(EFFECT, "the map", "The map", arms=("active",)),
    )
}
OF_CHANGE = tuple(CONTRASTS)[:3]  # those of change alone


def contrast_words(name, names) -> str:
    """A contrast in a sentence, in the study's words for the arms."""
    return CONTRASTS[name].words.format(**names)


def contrast_title(name, names) -> str:
    """A contrast above a picture, in the study's words for the arms."""
    return CONTRASTS[name].title.format(**names)
