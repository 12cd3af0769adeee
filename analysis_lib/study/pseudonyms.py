"""What stands for real participants in all that a run writes: pseudonyms, and declared words.

Notebooks open a study under pseudonyms (`pseudonymised`): its readers then give them in the place
of participant_id, and words that nobody declared as "other". Names are only in the study's own
files, in the key beside the study file, and in what `check-study` prints.
"""

import secrets

import pandas as pd

from analysis_lib.results.files import write_text
from analysis_lib.results.problems import Listing, Problem, StudyError, WrongFile
from analysis_lib.study.tables import declared_levels, read_text_table

FEWEST = 5  # participants who share a word, or a cell of a table of attributes, that is shown
OTHER = "other"
FREE_TEXT = ("image_missing", "stopped_because")  # of participants.tsv; term of adverse_events.tsv
KEPT = ("participant_id", "arm", "excluded", "withdrawn_after", "treatment_stopped_after", "guess")
IDENTIFIER = "participant_id"
_COLUMNS = [IDENTIFIER, "pseudonym"]


def pseudonymised(study):
    """The study as notebooks see it: under pseudonyms where it is protected."""
    return study.under(made_key(study)) if study.protected else study


def key_path(study):
    """Where the key of a study's pseudonyms is; git leaves it out."""
    return study.path.with_suffix(".key.tsv")


def read_key(study) -> dict:
    """Pseudonym by participant_id; empty where there is no key yet."""
    path = key_path(study)
    if not path.is_file():
        return {}
    table = read_text_table(path, path.name)
    if list(table) != _COLUMNS or table.isna().any(axis=None) or table.stack().duplicated().any():
        expected = f"columns {' and '.join(_COLUMNS)}, each name once"
        remedy = "Restore the file; without it (delete it) participants get other pseudonyms"
        raise StudyError(Problem(path.name, "", expected, "another table", remedy))
    return dict(table.itertuples(index=False))


def made_key(study) -> dict:
    """The key, with new pseudonyms for participants that it lacks: made once, then kept."""
    known, people = read_key(study), _identifiers(study)
    new = [who for who in people if who not in known]
    if new:
        known |= _drawn(new, {*people, *known, *known.values()})
        rows = ["\t".join(pair) for pair in [_COLUMNS, *sorted(known.items())]]
        try:
            write_text(key_path(study), "\n".join(rows) + "\n")
        except OSError as error:
            expected = "a folder that the key of the pseudonyms can be written to"
            remedy = "Or put the study file where it can"
            found = error.strerror or str(error)
            raise WrongFile(Problem(key_path(study).name, "", expected, found, remedy)) from None
    return known


def _identifiers(study):
    path = study.root / "participants.tsv"
    table = read_text_table(path, path.name) if path.is_file() else {}
    return table.get("participant_id", pd.Series(dtype=str)).dropna().unique()


def _drawn(people, taken):
    """Numbers that tell neither order nor time of entry."""
    digits = max(4, len(str(len(taken))) + 1)
    draw = secrets.SystemRandom().sample(range(10**digits), len(people) + len(taken))
    free = (name for n in draw if (name := f"sub-P{n:0{digits}}") not in taken)
    return dict(zip(people, free, strict=False))


def named(study):
    """Function from a participant in a file's text to the one that the study is read under.

    Files that notebook 00 made have pseudonyms, also where a check names participants as they are.
    """
    names = study.names or {v: k for k, v in read_key(study).items()} if study.protected else {}
    return lambda who: names.get(who, who)


def in_file(study, who):
    """A participant as the study's own files name them."""
    return {v: k for k, v in study.names.items()}.get(who, who)


# --- words ----------------------------------------------------------------------------------------


def declared(study, column, file) -> set:
    """Words of a column that may be shown, as they are compared: without capitals and spaces.

    Those of ``declared`` in the study file, those that ``estimand`` names, and the Levels of the
    table's own JSON file, which is a description meant to be read.
    """
    words = [*study.declared.get(column, ()), *declared_levels(study.root / file).get(column, ())]
    words += study.estimand if column == "stopped_because" else ()
    return {plain(word) for word in words}


def plain(word):
    """A word as it is compared."""
    return " ".join(str(word).casefold().split())


def shown_people(study, people):
    """Participants as a run may show them, in the order of their pseudonyms.

    Words of a covariate or stratum that fewer than five share get a number, so that they stay
    apart; undeclared words of any other column become "other".
    """
    if not study.names:
        return people
    people = people.sort_values("participant_id", ignore_index=True)
    for column in people.columns.difference([*KEPT, *_numbers(people)]):
        allowed = declared(study, column, "participants.tsv")
        hide = _numbered if column in study.held_columns else _others
        people[column] = hide(people[column], allowed)
    return people


def _numbers(table):
    return [c for c in table if pd.api.types.is_numeric_dtype(table[c])]


def _others(values, allowed):
    return values.map(lambda word: word if pd.isna(word) or plain(word) in allowed else OTHER)


def _numbered(values, allowed):
    """Undeclared words that fewer than five share, numbered from the first row."""
    counts = values[~values.map(plain).isin(allowed)].value_counts(sort=False)
    rare = counts.index[counts < FEWEST]
    return values.replace({word: f"{OTHER} {k}" for k, word in enumerate(rare, 1)})


def shown_terms(study, events):
    """Adverse events as a run may show them: undeclared terms, and rare ones, are "other".

    A declared term of fewer than five participants stays where an event of it was serious.
    """
    if not study.names:
        return events
    people = events.groupby("term")["participant_id"].nunique()
    often = events["term"].map(people) >= FEWEST
    serious = events["serious"].eq("yes").groupby(events["term"]).transform("any")
    terms = _others(events["term"], declared(study, "term", "adverse_events.tsv"))
    return events.assign(term=terms.where(often | serious, OTHER))


def problems(study):
    """A warning for words that nobody declared: outputs will say "other"."""
    if not study.protected:
        return
    columns = {name: "participants.tsv" for name in FREE_TEXT} | {"term": "adverse_events.tsv"}
    for column, file in columns.items():
        allowed = declared(study, column, file)
        lacking = [word for word in _words(study, file, column) if plain(word) not in allowed]
        if lacking:
            text = Listing(tuple(map(repr, lacking)), f'{{}} will be called "{OTHER}" in outputs')
            remedy = f"To show them: declared: {{{column}: [...]}} in {study.path.name}"
            yield Problem(file, column, text=text, remedy=remedy, warning="undeclared")


def _words(study, file, column):
    """Words of a column; none where the table or the column is not there, or cannot be read."""
    try:
        table = read_text_table(study.root / file, file)
    except (StudyError, OSError):  # told where it is read
        return []
    return [word for word in table.get(column, pd.Series(dtype=str)).dropna().unique() if word]
