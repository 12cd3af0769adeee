"""The files of a new study: texts from the folder of templates, and empty tables."""

import json
from pathlib import Path

import jinja2
import yaml

from analysis_lib.study.conduct import SEVERITIES
from analysis_lib.study.contract import ATLASES, FRONTAL_LIMBIC, Imaging
from analysis_lib.study.on_disk import MADE_MAPS

WORDS = {"active": "active stimulation", "sham": "sham coil"}
MAPS = "bids/derivatives/vbm"


def skeleton_files(name, title, arms, weeks, scales, images, n_participants):
    """Text of each file of the skeleton, by its path."""
    templates = _templates(name=name, title=title, arms=arms, scales=scales, images=images)
    templates.globals |= _of_visits(weeks)
    texts = ("bids/README", "optional/README", *([f"{MAPS}/README"] if images == "maps" else []))
    files = {
        f"{name}.yml": _text(templates, "study.yml"),
        ".gitignore": "*.key.tsv\nbids/\n",
        "bids/.bidsignore": "adverse_events.*\nstimulation.*\n",
        "bids/dataset_description.json": _json(_description(title, "raw")),
        **{path: _text(templates, path) for path in texts},
    }
    if images == "maps":
        about = _description(f"Grey-matter maps of: {title}", "derivative")
        about["SourceDatasets"] = [{"URL": "../.."}]
        files[f"{MAPS}/dataset_description.json"] = _json(about)
    columns = yaml.safe_load(_text(templates, "tables.yml"))
    return files | _tables(columns, weeks, scales, n_participants)


def _templates(arms, **given):
    """The folder of templates, and what every one of them may name."""
    folder = jinja2.FileSystemLoader(Path(__file__).with_name("template"), encoding="utf-8")
    how = {"trim_blocks": True, "keep_trailing_newline": True, "undefined": jinja2.StrictUndefined}
    made = jinja2.Environment(loader=folder, **how)
    made.filters["scalar"] = _scalar
    made.globals |= {"arms": arms, "levels": {arm: WORDS.get(arm, arm) for arm in arms}, **given}
    made.globals |= {"atlases": ATLASES, "regions": FRONTAL_LIMBIC, "made_maps": MADE_MAPS}
    made.globals |= {"severities": {word: word for word in SEVERITIES}}
    made.globals |= {"t1w": Imaging.model_fields["t1w"].default}
    return made


def _of_visits(weeks):
    """How templates name visits: in sentences (baseline, sessions) and as YAML (the others)."""
    names = [_scalar(visit) for visit in weeks]
    pairs = [f"{name}: {week:g}" for name, week in zip(names, weeks.values(), strict=True)]
    return {
        "baseline": next(iter(weeks)),
        "sessions": [f"ses-{visit}" for visit in weeks],
        "visits": f"{{{', '.join(pairs)}}}",
        "first": names[0],
        "last": names[-1],
    }


def _text(templates, name):
    return templates.get_template(f"{name}.j2").render()


def _scalar(value):
    """A value as YAML writes it within a line, quoted where it must be."""
    how = {"default_flow_style": True, "allow_unicode": True, "sort_keys": False}
    return yaml.safe_dump([value], width=10**6, **how).strip()[1:-1]


def _tables(columns, weeks, scales, n):
    """The tables, with a row for each participant and visit."""
    who = [f"sub-{k:0{max(2, len(str(n)))}d}" for k in range(1, n + 1)]
    sessions = [{"session_id": f"ses-{visit}"} for visit in weeks]
    given = dict.fromkeys(("withdrawn_after", "image_missing", "guess"), "n/a")
    rows = [{"participant_id": name} | given for name in who]
    files = _table("bids/participants", columns["participants"], rows)
    rated = [{"participant_id": name} | session for name in who for session in sessions]
    for scale in scales:
        total = "Total score, {:g} to {:g}".format(*scale.range)
        about = {"MeasurementToolMetadata": {"Description": scale.name}}
        described = columns["scale"] | {"total": total}
        files |= _table(f"bids/{scale.file.removesuffix('.tsv')}", described, rated, about)
    for name in who:
        files |= _table(f"bids/{name}/{name}_sessions", columns["sessions"], sessions)
    for name in ("adverse_events", "stimulation"):
        files |= _table(f"optional/{name}", columns[name])
    return files


def _table(stem, columns, rows=(), about=()):
    """A TSV file and the JSON file that describes its columns; missing cells are empty."""
    lines = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    text = "".join("\t".join(line) + "\n" for line in lines)
    described = {k: {"Description": v} if isinstance(v, str) else v for k, v in columns.items()}
    return {f"{stem}.tsv": text, f"{stem}.json": _json({**dict(about), **described})}


def _description(title, kind):
    return {
        "Name": title,
        "BIDSVersion": "1.10.0",
        "DatasetType": kind,
        "License": "n/a",
        "Authors": ["Name them"],
        "GeneratedBy": [{"Name": "analysis_lib.study.skeleton", "Version": "0.1.0"}],
    }


def _json(content):
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
