"""Brain views to click and turn: web pages by nilearn that hold all they need and work offline.

A :class:`View` is shown by a notebook as it is; :func:`files` gives what ``writing.write`` writes.
"""

import hashlib
import html
import re
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import Normalize, to_hex
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template
from nilearn.image import new_img_like
from nilearn.plotting import view_img
from scipy.ndimage import binary_erosion

from analysis_lib.atlas import distances, grids
from analysis_lib.figures.appearance import warnings_of
from analysis_lib.figures.draw_brain import where
from analysis_lib.figures.palette import DIVERGING
from analysis_lib.results.closed_page import closed, in_script, scripts_of
from analysis_lib.results.contrasts import contrast_title

BALLS = Path(__file__).with_name("balls.html")
DENSITY = "viridis"
CAPTION_STYLE = "font: 14px sans-serif; margin: 0 0 6px"
SETTINGS = {  # of nilearn's scripts, which nilearn offers no argument for
    '"flagValue": false': '"flagValue": true',  # the value at the cross
}
NOTHING = "no voxel has family-wise p < {level}: every voxel is shown"


@dataclass(frozen=True)
class View:
    """An interactive picture: a whole web page."""

    title: str  # one line; begins with SIMULATED where the study is
    alt: str  # what is to be seen, for whoever cannot see it
    html: str = field(repr=False)  # a notebook stores the repr beside the picture
    width: int  # pixels
    height: int

    def _repr_html_(self):
        page, title, alt = (html.escape(text) for text in (self.html, self.title, self.alt))
        return (
            f'<iframe sandbox="allow-scripts" srcdoc="{page}" title="{title}" '
            f'aria-description="{alt}" '
            f'width="{self.width}" height="{self.height}" style="border: 0; max-width: 100%">'
            "</iframe>"
        )


def files(views) -> dict:
    """Content of a folder of views, for ``writing.write``.

    Parameters
    ----------
    views : dict
        Name of the file without suffix to View.

    Returns
    -------
    dict
        A page each, and ``views.json`` with title, alt, width and height by file name.
    """
    pages = {f"{name}.html": asdict(view) for name, view in views.items()}
    content = {name: page.pop("html") for name, page in pages.items()}
    return content | {"views.json": pages}


def marked(title, study, quick=False) -> str:
    """A title that begins with SIMULATED or IDENTIFIABLE, and QUICK, where that is so."""
    return " · ".join([*warnings_of(study, quick), title])


def effect_views(results) -> dict:
    """Percent change of each contrast in slices to click through: see `effect_view`.

    Parameters
    ----------
    results : analysis_lib.results.Section
        Of notebook 02.

    Returns
    -------
    dict of View
        By contrast.
    """
    study = results.study
    return {
        contrast: effect_view(
            results.image(f"{contrast}_percent"),
            results.image(f"{contrast}_p_fwe_t"),
            marked(contrast_title(contrast, study.arm_names), study, results.quick),
        )
        for contrast in study.contrasts
    }


def receptor_views(results, parcels) -> dict:
    """The change and its leading receptor: regions as balls, and slices of both maps.

    Parameters
    ----------
    results : analysis_lib.results.Section
        Of notebook 03.
    parcels : Atlas

    Returns
    -------
    dict of View
        "regions", "change", "receptor".
    """
    points, study = _placed(results.table("scatter"), parcels), results.study
    receptor, annotation = points[["receptor", "annotation"]].iloc[0]
    change = contrast_title(study.main, study.arm_names)
    unit = study.effect.kind if study.effect else "%"
    density = f"{receptor} density ({annotation}), which the change is compared with"
    said = partial(marked, study=study, quick=results.quick)
    at = {"parcels": parcels, "cut": points.loc[points["percent"].abs().idxmax(), list("xyz")]}
    return {
        "regions": region_view(points, said(f"{change}, and {receptor}"), receptor, unit),
        "change": _one_value_a_region(points["percent"], said(f"{change}, {unit}"), True, **at),
        "receptor": _one_value_a_region(points["density"], density, False, **at),
    }


def _placed(points, parcels):
    """Regions by label, with their centres."""
    names = grids.region_names(parcels)
    points = points.set_index(pd.Series(names.index, index=names)[points["region"]].to_numpy())
    return points.join(distances.parcel_centroids(parcels, points.index))


def _one_value_a_region(values, title, diverging, parcels, cut):
    plain = title.rpartition(" · ")[2]
    alt = f"Clickable slices of the brain, {plain}: one value per region, {len(values)} regions."
    return slice_view(region_image(values, parcels), title, alt, cut=cut, diverging=diverging)


def effect_view(effect, p_image, title, unit="%", level=0.05, resolution=2) -> View:
    """Slices of an effect map to click through, where family-wise p is below a level.

    Where nothing survives, every voxel is shown, and the title says so. Both images are on one
    grid; an effect of 0 lies outside the mask. The picture has voxels of ``resolution`` mm.
    """
    kept = where(effect, p_image, level)
    n_kept = int(np.count_nonzero(kept.get_fdata()))
    limit = f"{level:.3g}".removeprefix("0")
    note = f"family-wise p < {limit}" if n_kept else NOTHING.format(level=limit)
    shown = kept if n_kept else effect
    peak, place = _peak(shown)
    alt = (
        f"Clickable slices of the brain, {title}: {n_kept or 'no'} voxels with family-wise p < "
        f"{limit}; largest effect {peak:+.2f} {unit} at MNI {_place(place)}."
    )
    return slice_view(shown, f"{title}, {unit} ({note})", alt, cut=place, resolution=resolution)


def slice_view(image, title, alt, cut=None, diverging=True, resolution=2) -> View:
    """Slices of a map on the MNI template: a click moves the cut in all three.

    0 and NaN are not drawn. It opens at ``cut`` (mm), or the largest absolute value. Colours are
    for effects of either sign, 0 in the middle, or for a density; voxels have ``resolution`` mm.
    """
    data = np.nan_to_num(image.get_fdata()).astype(np.float32)
    image = new_img_like(image, data)
    peak, place = _peak(image)
    look = {"cmap": DIVERGING if diverging else DENSITY, "symmetric_cmap": diverging}
    look |= {"vmax": float(f"{abs(peak):.2g}") or 1.0, "threshold": 1e-6, "black_bg": False}
    look |= {"resampling_interpolation": "nearest"}  # a value shown is a value of the map
    template, cut = load_mni152_template(resolution=resolution), place if cut is None else cut
    shown = view_img(image, bg_img=template, cut_coords=tuple(cut), width_view=720, **look)
    page = _page(shown.html, title, "Click or drag to move the cut.")
    return View(title, alt, page, shown.width, shown.height + 15)


def region_image(values, parcels, resolution=2):
    """A map in which every voxel of a region holds the region's value; 0 where there is none.

    ``values`` are by label of the atlas; the grid is the MNI template's, of ``resolution`` mm.
    """
    grid = load_mni152_template(resolution=resolution)
    labels = grids.labels_on_grid(parcels, grid.shape, grid.affine)
    by_label = np.zeros(max(labels.max(), values.index.max()) + 1, np.float32)
    by_label[values.index] = values.fillna(0)
    return new_img_like(grid, by_label[labels])


def region_view(regions, title, receptor, unit="%") -> View:
    """Regions as balls in a glass brain to be turned: colour is change, size receptor density.

    ``regions``: x, y, z (MNI, mm); region (name); percent (change); density (of the receptor, any
    unit: the size of a ball goes by rank). Rows with a missing value are left out.
    """
    known = regions.dropna(subset=["x", "y", "z", "region", "percent", "density"])
    if known.empty:
        raise ValueError(f"no region has both a change and a density of {receptor}")
    end = known["percent"].abs().max() or 1.0
    hint = (
        f"Colour: change, {-end:.1f} {unit} (blue) to {end:+.1f} {unit} (red). Size: {receptor} "
        "density, by rank. Drag, or use the arrow keys, to turn; point at a ball for its name."
    )
    alt = _region_alt(known, receptor, unit)
    shown = {"balls": _balls(known, end, receptor, unit), "shell": _shell(), "alt": alt}
    page = BALLS.read_text(encoding="utf-8").replace("DATA", in_script(shown), 1)
    return View(title, alt, _page(page, title, hint), 720, 590)


def _balls(known, end, receptor, unit):
    sizes = (4 + 14 * known["density"].rank(pct=True)).round(1)
    balls = zip(known.itertuples(), _colours(known["percent"], end), sizes, strict=True)
    return [
        {
            "at": [round(row.x, 1), round(row.y, 1), round(row.z, 1)],
            "label": f"{row.region}: {row.percent:+.2f} {unit}, {receptor} {row.density:.3g}",
            "colour": colour,
            "size": size,
        }
        for row, colour, size in balls
    ]


def _shell():
    """Places on the outside of the template's brain, mm: what the balls lie in."""
    mask = load_mni152_brain_mask(resolution=6)
    inside = mask.get_fdata() > 0
    voxels = np.argwhere(inside & ~binary_erosion(inside))
    return (voxels @ mask.affine[:3, :3].T + mask.affine[:3, 3]).round().astype(int).tolist()


def _colours(values, end):
    scale = mpl.colormaps[DIVERGING]
    return [to_hex(colour) for colour in scale(Normalize(-end, end)(values.to_numpy()))]


def _region_alt(known, receptor, unit):
    largest = known.loc[known["percent"].abs().nlargest(4).index]
    named = "; ".join(f"{r.region} {r.percent:+.1f} {unit}" for r in largest.itertuples())
    densest = known.loc[known["density"].idxmax(), "region"]
    return (
        f"{len(known)} regions as balls in a transparent brain, coloured by change, sized by "
        f"{receptor} density. Largest changes: {named}. Densest in {receptor}: {densest}."
    )


def _peak(image):
    """Value and MNI coordinates of the largest absolute value."""
    data = image.get_fdata()
    voxel = np.unravel_index(np.argmax(np.abs(data)), data.shape)
    place = image.affine[:3, :3] @ voxel + image.affine[:3, 3]
    return float(data[voxel]), tuple(float(round(x, 1)) for x in place)


def _place(coordinates):
    return f"({', '.join(f'{x:.0f}' for x in coordinates)})"


def _page(page, title, hint):
    """nilearn's page with a caption, without its link to the internet (an icon), reproducible."""
    page = re.sub(r'<link rel="icon"[^>]*>', "", page)
    for theirs, ours in SETTINGS.items():
        page = page.replace(theirs, ours)
    fixed = hashlib.sha256(title.encode()).hexdigest()[:32]  # in place of a random name
    for name in set(re.findall(r"div_viewer-([0-9a-f]{32})", page)):
        page = page.replace(name, fixed)
    own = scripts_of(page)
    title, hint = html.escape(title), html.escape(hint)
    page = re.sub(r"<title>.*?</title>", lambda _: f"<title>{title}</title>", page, count=1)
    caption = f'<p style="{CAPTION_STYLE}"><b>{title}</b><br>{hint}</p>'
    return closed(page.replace("<body>", f"<body>\n{caption}", 1), own)
