"""How far does a study scale? Time and memory of each notebook, and the size of the report.

    python -m benchmarks.load [FOLDER]          an hour; FOLDER keeps the made-up study
    python -m benchmarks.load FOLDER --full     with all permutations

200 simulated patients with two maps each at 2 mm, ten scales by eight visits, 60 receptor maps.
Writes load.tsv.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from nilearn.image import smooth_img

from analysis_lib.atlas.template import grey_matter_template
from analysis_lib.datasets.simulate import simulate_study
from analysis_lib.results.environment import PROJECT
from analysis_lib.results.reading import read_json
from analysis_lib.study.contract import load_study

HERE = Path(__file__).parent
PER_ARM, N_SCALES, N_VISITS, N_MAPS, MM = 100, 10, 8, 60, 2.0
VISITS = {"baseline": 0} | {f"week{k}": k for k in range(1, N_VISITS)}
SCALES = [f"S{k:02d}" for k in range(1, N_SCALES + 1)]
TABLE, QUICK = {"sep": "\t", "index": False, "na_rep": "n/a"}, ("--quick",)
STUDY = {
    "name": "load",
    "title": "A large simulated trial",
    "data": "raw",
    "simulated": True,
    "arms": {"column": "arm", "active": "active", "control": "sham"},
    "visits": VISITS,
    "covariates": ["age", "sex"],
    "imaging": {
        "sessions": {"pre": "baseline", "post": "week3"},
        "grey_matter": "derivatives/vbm/sub-*/ses-*/anat/*_label-GM_desc-modulated_probseg.nii.gz",
    },
}


def make_study(folder):
    """Write the study, unless it is there; its file."""
    path, raw = folder / "load.yml", folder / "raw"
    if path.is_file():
        return path
    simulate_study(raw, resolution=MM, n_active=PER_ARM, n_control=PER_ARM, n_withdrawn=10)
    people = pd.read_csv(raw / "participants.tsv", sep="\t")
    rng = np.random.default_rng(0)
    for table in raw.glob("phenotype/*"):
        table.unlink()
    for name in SCALES:
        _scores(people, rng).to_csv(raw / f"phenotype/{name}.tsv", **TABLE)
    scales = [
        {"name": name, "file": f"phenotype/{name}.tsv", "range": [0, 60], "primary": not k}
        for k, name in enumerate(SCALES)
    ]
    content = STUDY | {"scales": scales, "receptors": _receptors(folder, rng)}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def _scores(people, rng):
    """Scores that fall by two points a week with active treatment, by one with sham."""
    fall = np.where(people["arm"] == "active", 2, 1)[:, None] * np.arange(N_VISITS)
    own = rng.normal(35, 4, (len(people), 1)) + rng.normal(0, 3, (len(people), N_VISITS))
    wide = np.clip(np.round(own - fall), 0, 60)
    stayed = people["withdrawn_after"].map(VISITS).fillna(N_VISITS)
    wide[np.arange(N_VISITS) > stayed.to_numpy()[:, None]] = np.nan
    table = pd.DataFrame(wide, people["participant_id"], [f"ses-{v}" for v in VISITS])
    return table.rename_axis(columns="session_id").stack().rename("total").reset_index()


def _receptors(folder, rng):
    """Smooth maps of grey matter, as files of the study's own."""
    template, entries = grey_matter_template(3), []
    for k in range(N_MAPS):
        noise = rng.normal(size=template.shape).astype(np.float32)
        noise = smooth_img(type(template)(noise, template.affine), 30).get_fdata()
        density = (1 + noise / noise.std() / 4) * (template.get_fdata() > 0.05)
        file = f"map{k:02d}.nii.gz"
        type(template)(density.astype(np.float32), template.affine).to_filename(folder / file)
        entries.append({"receptor": f"R{k:02d}", "file": file, "tracer": "none", "n_subjects": 20})
    return entries


def run(path, output, full):
    """Run all notebooks; seconds and peak memory of each, and what the report weighs."""
    options = ["--study", str(path), "--output", str(output), "--force", *(() if full else QUICK)]
    subprocess.run([sys.executable, "run_all.py", *options], cwd=PROJECT, check=True)
    study = load_study(path, output)
    steps = read_json(study.derived / "manifest.json")["steps"]
    rows = [
        {"what": name, "seconds": one["seconds"], "peak_memory_mb": one["peak_memory_mb"]}
        for name, one in steps.items()
    ]
    page = study.derived / "report" / "index.html"
    return pd.DataFrame([*rows, {"what": "report", "size_mb": page.stat().st_size / 1e6}])


def main():
    """Make the study, run it, and write load.tsv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--full", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = (given.folder or Path(place)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        table = run(make_study(folder), folder / "out", given.full)
    table = table.assign(permutations="all" if given.full else "quick")
    table.to_csv(HERE / "load.tsv", sep="\t", index=False, float_format="%.4g", na_rep="n/a")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
