"""ANTs and greedy (extra `preprocess`), set up so that the same images give the same numbers."""

import os

# Before ITK is loaded: one thread an image, so that sums come in one order and the numbers are the
# same however many images run beside one another. A value that the user has set stays.
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")

try:
    import ants
    import SimpleITK
    from picsl_greedy import Greedy3D
except ImportError as error:
    raise ImportError(
        f"notebook 00 needs {error.name}, which is not installed: pip install antspyx picsl-greedy "
        "(Python 3.11 to 3.13), or give the study grey-matter maps of another program"
    ) from error

ants.config.set_ants_deterministic(True, seed_value=1)  # which voxels an affine stage samples

__all__ = ["Greedy3D", "SimpleITK", "ants"]
