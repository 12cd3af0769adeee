"""Write data/studies/study.schema.json, by which editors complete and check a study file.

Types come from the pydantic model, the meaning of each key from its row in data/README.md.
"""

import json
import re
from pathlib import Path

from analysis_lib.study.contract import Study

DATA = Path(__file__).resolve().parents[1] / "data"
PLACE = DATA / "studies" / "study.schema.json"


def schema():
    """The JSON schema (draft 2020-12) of a study file."""
    made = Study.model_json_schema()
    keys, meanings = made["properties"], _meanings()
    for name, key in keys.items():
        key["description"] = meanings[name]
    # what the file may say in other words than the model
    keys["arms"]["anyOf"] = [{"$ref": "#/$defs/Arms"}, {"const": "none"}]
    keys["atlas"] = {"type": ["string", "object"], "description": meanings["atlas"]}
    keys["estimand"] = {"type": "object", "description": meanings["estimand"]}
    imaging, arms = made["$defs"]["Imaging"], made["$defs"]["Arms"]["properties"]
    imaging["properties"]["atlas"] = {"type": "string"}  # beside a table of regions
    imaging["anyOf"] = [{"required": [key]} for key in ("sessions", "table")]
    del imaging["required"]
    for value in (arms["active"], arms["control"], arms["left_out"]["items"]):
        value["type"] = ["string", "number"]  # as participants.tsv has it
    made["required"] = ["name", "title"]
    made["anyOf"] = [
        {"required": ["effect"]},
        {"required": ["data", "arms", "visits", "scales"]},
    ]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Study file"}
    return head | {"description": "A trial: see data/README.md"} | _without_titles(made)


def _meanings():
    """Meaning of each key of the study file, in plain words."""
    page = (DATA / "README.md").read_text(encoding="utf-8")
    table = page.split("### The study file\n")[1].split("\nA key that is not")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| .* \|$|^\| `(\w+)` \| (.*?) \| \|$", table, re.M)
    found = {a or c: b or d for a, b, c, d in rows}
    return {key: re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text) for key, text in found.items()}


def _without_titles(part):
    """Pydantic titles each key with its own name, which says nothing."""
    if isinstance(part, dict):
        named = part.get("title")
        kept = {k: v for k, v in part.items() if not (k == "title" and isinstance(named, str))}
        return {key: _without_titles(value) for key, value in kept.items()}
    return [_without_titles(one) for one in part] if isinstance(part, list) else part


def text():
    """The file's content."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PLACE.write_text(text(), encoding="utf-8")
