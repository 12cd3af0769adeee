"""YAML as people write it: words are words, no key twice, nothing that grows as it is read."""

import re
from collections import Counter
from typing import ClassVar

import yaml

MOST_NODES, DEEPEST = 10_000, 20  # aliases counted as what they stand for
_PLAIN = {  # what may be written for a number or a truth value without quotes
    "tag:yaml.org,2002:int": re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"),
    "tag:yaml.org,2002:bool": re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"),
}


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key given twice is an error instead of the last one winning.

    Words are words, as in YAML 1.2: 01 is not an octal number, yes and no are not booleans.
    """

    yaml_implicit_resolvers: ClassVar[dict] = {
        first: [(tag, _PLAIN.get(tag, pattern)) for tag, pattern in resolvers]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node, deep=False):
        """Refuse a mapping with the same key twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for key, n in Counter(map(str, keys)).items() if n > 1]
        if twice:
            raise yaml.YAMLError(f"key '{twice[0]}' is given twice{node.start_mark}")
        return super().construct_mapping(node, deep)


def parse_yaml(text):
    """Content of a YAML text; a ValueError says in one line why it is not one."""
    try:
        _refuse_growth(yaml.parse(text))
        return yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _refuse_growth(events):
    """Refuse what is nested too deeply, or has too many values once its aliases are filled in."""
    anchored, open_ones = {}, [["", 0]]  # anchor and size of each mapping or list not yet closed
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            open_ones.append([event.anchor, 1])
        elif isinstance(event, yaml.CollectionEndEvent):
            _close(open_ones, anchored, *open_ones.pop())
        elif isinstance(event, yaml.AliasEvent):
            open_ones[-1][1] += anchored.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            if "\0" in event.value:
                raise ValueError("text expected, found a null byte")
            _close(open_ones, anchored, event.anchor, 1)
        if len(open_ones) > DEEPEST:
            raise ValueError(f"at most {DEEPEST} levels of nesting expected, found more")
        if open_ones[-1][1] > MOST_NODES:
            raise ValueError(f"at most {MOST_NODES:,} values (aliases filled in) expected")


def _close(open_ones, anchored, anchor, size):
    """Count what was closed, and remember how large it is where it has a name."""
    open_ones[-1][1] += size
    if anchor:
        anchored[anchor] = size
