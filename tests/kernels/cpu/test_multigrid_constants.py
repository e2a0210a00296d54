"""The thresholds that the compiled multigrid and the one in tensor operations share."""

from gabp.kernels.cpu import extension
from gabp.kernels.torch import aggregation, multigrid_levels


def test_both_backends_aggregate_by_the_same_thresholds():
    constants = extension.multigrid_constants()
    assert constants == {
        "coupling_threshold": aggregation._COUPLING_THRESHOLD,
        "mutual_threshold": aggregation._MUTUAL_THRESHOLD,
        "dominance_threshold": aggregation._DOMINANCE_THRESHOLD,
        "largest_aggregate": aggregation._LARGEST_AGGREGATE,
        "singular_diagonal": aggregation._SINGULAR_DIAGONAL,
        "largest_coarsening_ratio": multigrid_levels._LARGEST_COARSENING_RATIO,
        "smallest_inner_share": multigrid_levels._SMALLEST_INNER_SHARE,
        "pivot_rounding": multigrid_levels._PIVOT_ROUNDING,
        "full_sweep_floor": multigrid_levels._FULL_SWEEP_FLOOR,
        "half_sweep_floor": multigrid_levels._HALF_SWEEP_FLOOR,
        "singular_pivot": multigrid_levels._SINGULAR_PIVOT,
    }
